"""Finding and loading models: those that come with the package, and files of your own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .model_file import LoadedModel

DEFAULT_MODEL = "capped-amino-acids"
TORSION_MODEL = "peptide-torsions"
"""The one whose torsion head exact runs draw from where none is named."""

_FOLDER = Path(__file__).parent.parent / "models"


def bundled_models() -> list[str]:
    """Names of the models that come with the package."""
    return sorted(path.stem for path in _FOLDER.glob("*.atmos"))


def load_named_model(model: str | Path | LoadedModel) -> LoadedModel:
    """
    Load the model that a name of a bundled one or the path of an .atmos file stands for.

    Raises
    ------
    ValueError
        If there is no such model, or the file is damaged
    """
    return find_model(model)[1]


def find_model(model: Any) -> tuple[str, LoadedModel]:
    """
    Load what the user named, with the name to call it by: that of a bundled model, the stem of a
    file, or what a loaded model declares.

    Raises
    ------
    ValueError
        If there is no such model, or the file is damaged
    TypeError
        If it is neither a name, a path nor a loaded model
    """
    if hasattr(model, "capabilities") and hasattr(model, "module"):
        return str(model.capabilities.name), model
    if not isinstance(model, (str, Path)):
        raise TypeError(
            f"model is {type(model).__name__}; give the name of a bundled model, the path of an "
            ".atmos file, a loaded model, or a TorchScript module that follows the contract of a "
            "bound module (propagate, num_atoms, state_size and noise_size, all exported)."
        )
    path = Path(model)
    name = path.stem
    if path.suffix != ".atmos":
        path = _FOLDER / f"{model}.atmos"
        name = str(model)
        if not path.exists():
            names = ", ".join(bundled_models()) or "none"
            raise ValueError(
                f"There is no bundled model {name!r} (bundled: {names}). Give one of these, or the "
                "path of a model file that ends in .atmos."
            )
    elif not path.exists():
        raise ValueError(f"The model file {path} does not exist; check the path.")
    from .model_file import load_model

    return name, load_model(path)
