"""`atmos-openmm export`: write the model file of a training run."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("export")
@click.argument("checkpoint", type=click.Path(exists=True, path_type=Path))
@click.argument("output", type=click.Path(dir_okay=False, path_type=Path))
@click.option(
    "--name", default=None, help="Name in the model's declaration; the file's by default."
)
@click.option("--trained-on", required=True, help="What the model was trained on, in a sentence.")
@click.option("--licence", default="MIT", show_default=True)
@click.option("--denoising-steps", type=int, help="Denoising steps a jump. [16; full: 20]")
@click.option("--sigma-max", type=float, help="First noise level, angstrom. [10; full: 2560]")
@click.option("--sigma-min", type=float, help="Last noise level, angstrom. [0.03; full: 0.0064]")
@click.option(
    "--churn",
    type=float,
    help="Relative increase of the noise before each step; 0: deterministic. [0.8]",
)
@click.option(
    "--step-scale", type=float, help="Length of a step over the plain one. [1.2; full: 1.5]"
)
@click.option("--max-tokens", type=int, default=None, help="Largest molecule: tokens.")
@click.option("--max-atoms", type=int, default=None, help="Largest molecule: atoms.")
def command(
    checkpoint: Path,
    output: Path,
    name: str | None,
    trained_on: str,
    licence: str,
    denoising_steps: int | None,
    sigma_max: float | None,
    sigma_min: float | None,
    churn: float | None,
    step_scale: float | None,
    max_tokens: int | None,
    max_atoms: int | None,
) -> None:
    """Write the training run or CHECKPOINT as the model file OUTPUT (.atmos)."""
    from ..training.weights.checkpoint_export import export_checkpoint

    if output.suffix != ".atmos":
        raise ValueError(f"The output {output} has to end in .atmos.")
    chosen = {
        "steps": denoising_steps,
        "sigma_max": sigma_max,
        "sigma_min": sigma_min,
        "churn": churn,
        "step_scale": step_scale,
    }
    declared = export_checkpoint(
        checkpoint,
        output,
        name=name or output.stem,
        trained_on=trained_on,
        licence=licence,
        sampler={name: value for name, value in chosen.items() if value is not None},
        max_tokens=max_tokens,
        max_atoms=max_atoms,
    )
    size = output.stat().st_size / 1e6
    click.echo(f"Wrote {output} ({size:.1f} MB), weights {declared.weights_sha256[:12]}.")
