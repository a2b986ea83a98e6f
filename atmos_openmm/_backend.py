"""Loads what a TorchScript module needs: torch, and the operators that the module may use.

The compiled integrator imports this by name before it loads its first module, so that a process
that never jumps never loads torch.
"""

from __future__ import annotations

import torch

from . import ops

__all__ = ["ops", "torch"]
