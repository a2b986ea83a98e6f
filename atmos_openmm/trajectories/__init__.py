"""Trajectories from files: formats, clocks, periodic boxes, and the layout of our own files."""
