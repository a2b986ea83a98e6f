"""Training of the ATMOS network from trajectory files."""
