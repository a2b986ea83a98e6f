"""Run the command line as ``python -m atmos_openmm``."""

import sys

from atmos_openmm.cli import main

if __name__ == "__main__":
    sys.exit(main())
