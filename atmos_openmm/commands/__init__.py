"""Subcommands of `atmos-openmm`: one file each, holding a click command named `command`."""
