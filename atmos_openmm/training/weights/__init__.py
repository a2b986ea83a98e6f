"""Files of weights: checkpoints, model files, other projects' weights."""
