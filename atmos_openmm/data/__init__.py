"""Trajectory files and the simulations that make them."""
