"""Memory and time of a training step on paper."""
