"""Metrics of generated and simulated ensembles: torsions, divergences, transitions.

Everything here is plain numpy on arrays; nothing runs a simulation.
"""
