"""The molecules of the benchmark and the settings in which each is sampled."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

GAS_CONSTANT = 8.31446261815324e-3
"""kJ/mol/K."""

CAPPED = ("ALA", "LEU", "VAL", "TYR", "GLN", "CYS")
TETRAPEPTIDES = tuple(
    "ARIP CIPQ DEMT EHQW FESD GCDE GDTI HEAV HQVS ITYL "
    "KKAP KRWN NCFG PQIF QAKR RLMM SHKS TAPF TMWC WNMA".split()
)
"""Public test peptides of transferable-samplers. Nothing is tuned on the last ten."""


@dataclass(frozen=True)
class Molecule:
    """A peptide in its setting.

    Capped amino acids: GBn2, 300 K, bonds of hydrogens constrained, 4 fs. Tetrapeptides as they
    were published: OBC1, 310 K, no constraints, charged ends; the masses of hydrogens, which
    change no average of positions, are a good user's choice and allow 2.5 fs.
    """

    name: str
    sequence: str
    forcefield: tuple[str, str]
    constraints: str | None
    temperature: float
    hydrogen_mass: float
    step_ps: float

    def build(self) -> tuple[Any, NDArray[np.float64], Any]:
        """Topology, positions in nm and System."""
        from atmos_openmm.systems.forcefield import create_system
        from atmos_openmm.systems.peptides import build_peptide

        topology, positions = build_peptide(self.sequence, seed=1)
        system = create_system(
            topology,
            self.forcefield,
            constraints=self.constraints,  # type: ignore[arg-type]
            hydrogen_mass_dalton=self.hydrogen_mass,
        )
        return topology, positions, system

    @property
    def kT(self) -> float:
        """kJ/mol."""
        return GAS_CONSTANT * self.temperature


def molecule(name: str) -> Molecule:
    """A capped amino acid by its three-letter code, a tetrapeptide by its four letters."""
    if len(name) == 3:
        fields = ("amber14-all.xml", "implicit/gbn2.xml")
        return Molecule(name, f"ACE-{name}-NME", fields, "HBonds", 300.0, 1.5, 0.004)
    fields = ("amber14-all.xml", "implicit/obc1.xml")
    return Molecule(name, name, fields, None, 310.0, 3.0, 0.0025)
