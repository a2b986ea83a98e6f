"""A model fine-tuned on a user's own molecular dynamics, and held-out numbers that judge it."""
