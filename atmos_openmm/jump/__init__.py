"""What a jump is made of: a model bound to a solute, noise, the call, the verdict, velocities.

The compiled integrator does the same in C++ (csrc/plugin); this room is its counterpart in Python,
which `AtmosPropagator`, `HybridDriver` and `Rollout` share.
"""
