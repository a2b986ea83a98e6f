"""All panels by name."""

from __future__ import annotations

from .panel import Panel
from .panel_atlas import AtlasPanel
from .panel_dynamics import DynamicsPanel
from .panel_energy import EnergyPanel
from .panel_ligand import LigandPanel
from .panel_mdcath import MdcathPanel
from .panel_peptide import PeptidePanel
from .panel_rollout import RolloutPanel
from .panel_str2str import Str2StrPanel
from .panel_validity import ValidityPanel

__all__ = ["PANELS", "find_panel"]

PANELS: dict[str, type[Panel]] = {
    panel.name: panel
    for panel in (
        MdcathPanel,
        AtlasPanel,
        PeptidePanel,
        ValidityPanel,
        LigandPanel,
        EnergyPanel,
        DynamicsPanel,
        RolloutPanel,
        Str2StrPanel,
    )
}


def find_panel(name: str) -> type[Panel]:
    """The panel of a name.

    Raises
    ------
    ValueError
        If there is none.
    """
    if name not in PANELS:
        raise ValueError(f"there is no panel {name!r}; choose from {', '.join(PANELS)}")
    return PANELS[name]
