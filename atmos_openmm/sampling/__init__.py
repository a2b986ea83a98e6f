"""Hybrid sampling: learned jumps between stretches of molecular dynamics."""
