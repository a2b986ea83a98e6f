"""What a jump is made of: noise, the call of the bound module, velocities, the proposal.

The compiled integrator does the same in C++ (csrc/plugin); this room is its counterpart in Python,
which `AtmosPropagator`, `HybridDriver` and `Rollout` share.
"""
