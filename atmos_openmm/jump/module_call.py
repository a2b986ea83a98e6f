"""Calling a bound module: shapes checked, errors cut to their cause, one thread."""

from __future__ import annotations

import contextlib
import hashlib
import re
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch

_NOISE_IN_TRACEBACK = re.compile(
    r"^\s*(Traceback of TorchScript|Serialized File|File \"|The following operation failed|~+|"
    r"Python builtin|RuntimeError: The following)"
)


@dataclass(frozen=True)
class ModuleSizes:
    """Sizes of a bound module: atoms A, state S, noise K."""

    num_atoms: int
    state_size: int
    noise_size: int


def module_sizes(module: torch.jit.ScriptModule) -> ModuleSizes:
    """Ask a bound module for its sizes.

    Raises
    ------
    TypeError
        if one of the methods of the contract is missing
    """
    missing = [
        name
        for name in ("propagate", "num_atoms", "state_size", "noise_size")
        if not hasattr(module, name)
    ]
    if missing:
        raise TypeError(
            f"{type(module).__name__} is not a bound module: it has no method "
            f"{', '.join(missing)}. A bound module exports propagate(positions, state, noise, lag, "
            "temperature), num_atoms(), state_size() and noise_size(); mark them with "
            "@torch.jit.export and script the module with torch.jit.script."
        )
    sizes: Any = module
    return ModuleSizes(int(sizes.num_atoms()), int(sizes.state_size()), int(sizes.noise_size()))


def cause_of(error: BaseException) -> str:
    """The one line of a TorchScript error that says what went wrong."""
    lines = [line.strip() for line in str(error).splitlines()]
    kept = [line for line in lines if line and not _NOISE_IN_TRACEBACK.match(line)]
    return kept[-1] if kept else type(error).__name__


@contextlib.contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Use this many threads inside torch operators, and put the caller's setting back.

    Small networks are slower on several threads: waking them costs more than the arithmetic.
    """
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def call_module(
    module: torch.jit.ScriptModule,
    positions_nm: NDArray[np.float32],
    state: NDArray[np.float32],
    noise: NDArray[np.float32],
    lag_ps: float,
    temperature_k: float | Sequence[float],
    threads: int = 1,
    device: str = "cpu",
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Run one batched proposal.

    Parameters
    ----------
    module : torch.jit.ScriptModule
        the bound module
    positions_nm : numpy.ndarray, shape [B, A, 3], float32
        centred solute positions in nm
    state : numpy.ndarray, shape [B, S], float32
        hidden states; zeros for no history
    noise : numpy.ndarray, shape [B, K], float32
        standard normal noise
    lag_ps : float
        the same for the whole batch
    temperature_k : float or sequence of float, B
        the same for the whole batch, or of each
    threads : int
        threads of torch during the call
    device : str
        where the module is

    Returns
    -------
    positions_nm [B, A, 3], state [B, S], log_ratio [B]

    Raises
    ------
    RuntimeError
        if the module raises or returns a tensor of a wrong shape, with the cause in one line
    """
    import torch

    batch = len(positions_nm)
    try:
        with torch.no_grad(), torch_threads(threads):
            result = module.propagate(
                *(
                    torch.from_numpy(np.ascontiguousarray(array)).to(device)
                    for array in (positions_nm, state, noise)
                ),
                torch.full((batch,), lag_ps, dtype=torch.float32, device=device),
                torch.tensor(temperature_k, dtype=torch.float32, device=device).expand(batch),
            )
    except Exception as error:
        raise RuntimeError(f"The propagator module failed: {cause_of(error)}") from None
    if not isinstance(result, tuple) or len(result) != 3:
        raise RuntimeError(
            "The propagator module returned something other than the three tensors positions, "
            "state and log_ratio."
        )
    expected = (tuple(positions_nm.shape), tuple(state.shape), (batch,))
    for name, tensor, shape in zip(
        ("positions", "state", "log_ratio"), result, expected, strict=True
    ):
        if tuple(tensor.shape) != shape:
            raise RuntimeError(
                f"The propagator module returned {name} of shape {list(tensor.shape)}; expected "
                f"{list(shape)}."
            )
    arrays = [tensor.detach().to("cpu", torch.float32).numpy() for tensor in result]
    return arrays[0], arrays[1], arrays[2]


def check_device(device: str) -> None:
    """Refuse a torch device that is not there.

    Raises
    ------
    ValueError
        if torch does not know the name, or finds no such device
    """
    import torch

    try:
        torch.empty(1, device=device).item()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        cause = str(error).strip().splitlines()[0]
        raise ValueError(
            f"Torch {torch.__version__} cannot compute on the device {device!r}: {cause} Use "
            "'cpu', or a torch and a driver that know the device."
        ) from None


def module_digest(module: torch.jit.ScriptModule) -> str:
    """Hash of a scripted module: code, constants, attributes and tensors of every submodule.

    Not that of its archive, in which names depend on what was scripted before it.
    """
    import torch

    digest = hashlib.sha256()
    for path, part in module.named_modules():
        digest.update(f"module {path}\n".encode())
        for method in sorted(part._c._method_names()):
            code = part._c._get_method(method).code
            digest.update(re.sub(r"___torch_mangle_\d+\.", "", code).encode())
        kind = part._concrete_type
        for name, value in sorted(kind.get_constants().items()):
            digest.update(f"constant {name} {value!r}\n".encode())
        for name in sorted(kind.get_attributes()):
            value = getattr(part, name)
            if isinstance(value, torch.Tensor):
                digest.update(f"tensor {name} {value.dtype} {tuple(value.shape)}\n".encode())
                digest.update(value.detach().cpu().contiguous().numpy().tobytes())
            else:
                digest.update(f"attribute {name} {value!r}\n".encode())
    return digest.hexdigest()


class without_jit_warnings(warnings.catch_warnings):
    """Silences torch's notice that TorchScript is deprecated, which is not the user's doing."""

    def __enter__(self) -> Any:
        result = super().__enter__()
        warnings.filterwarnings("ignore", "`torch.jit", DeprecationWarning)
        return result
