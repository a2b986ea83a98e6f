"""Metrics of generated and simulated ensembles, and panels of them against molecular dynamics.

A metric is a function of arrays in a file of its own; a panel (`panels.PANELS`) is a set of metrics
fitted on reference dynamics; `evaluate.evaluate` asks panels of an MD replica and of generators.
Nothing here runs a simulation.
"""
