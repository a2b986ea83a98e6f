"""Training trajectories of one molecule, made with OpenMM."""
