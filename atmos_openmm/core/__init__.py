"""The ground floor: what every room of the package may use, and what imports none of them.

files        files that are there whole or not at all; errors that say what is safe
locks        one process in a folder
settings     settings that must match when a folder's work is taken up
units        numbers out of Quantities
constants    physical constants and the conventions of this package
geometry     superposition, torsions and other measurements on frames, batched
progress     times in words, the time left, the line on the terminal
text         lists and aligned columns in messages
read_errors  what libraries raise on damaged files, and how to quote it
"""
