"""`atmos-openmm info`: versions, platforms, and what a model file can do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click


@click.command("info")
@click.argument("model", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print a model's declaration as JSON.")
def command(model: str | None, as_json: bool) -> None:
    """Show what MODEL can do (an .atmos file or a bundled model's name).

    Without MODEL: versions, platforms, bundled models, and whether the installation works (the
    table of `python -m atmos_openmm.testInstallation`).
    """
    if model is None:
        if as_json:
            raise click.UsageError("--json goes with a MODEL.")
        _installation()
        return
    from ..model.bundled import load_named_model

    capabilities = load_named_model(model).capabilities
    if as_json:
        click.echo(capabilities.to_json())
        return
    click.echo(_model_text(capabilities))


def _installation() -> None:
    from ..testInstallation import main

    click.get_current_context().exit(main())


def _model_text(capabilities: Any) -> str:
    """A declaration as a table for reading."""
    from openmm.app import Element

    symbols = [Element.getByAtomicNumber(number).symbol for number in capabilities.elements]
    rows: Mapping[str, str] = {
        "model": capabilities.name,
        "atoms": {"all": "all, with hydrogens", "heavy": "heavy atoms only"}.get(
            capabilities.atoms, capabilities.atoms
        ),
        "elements": " ".join(symbols),
        "residues seen in training": " ".join(capabilities.residues),
        "largest molecule": f"{capabilities.max_tokens} tokens, {capabilities.max_atoms} atoms",
        "lag": "{:g} to {:g} ps".format(*capabilities.lag_range_ps),
        "temperature": "{:g} to {:g} K".format(*capabilities.temperature_range_kelvin),
        "denoising steps": str(capabilities.denoising_steps),
        "trained on": capabilities.trained_on,
        "licence": capabilities.licence,
        "format version": str(capabilities.format_version),
        "weights (SHA-256)": capabilities.weights_sha256,
    }
    width = max(map(len, rows))
    return "\n".join(f"{name:<{width}}  {value}" for name, value in rows.items())
