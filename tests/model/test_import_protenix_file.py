"""Reading a Protenix checkpoint: tensors alone, nothing run, bad files named for what they are."""

from __future__ import annotations

import collections
import gzip
import pickle
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from atmos_openmm import cli
from atmos_openmm.model.protenix_file import read_state_dict

SINIT = "linear_no_bias_sinit.weight"


def state_dict() -> dict[str, torch.Tensor]:
    """Two tensors under Protenix's names, large enough that half of the file is not the pickle."""
    generator = torch.Generator().manual_seed(3)
    return collections.OrderedDict(
        (name, torch.randn(*shape, generator=generator))
        for name, shape in ((SINIT, (384, 449)), ("layernorm_s.weight", (384,)))
    )


class Payload:
    """Unpickling it makes a file: what a hostile checkpoint would do."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self):
        return open, (str(self.trace), "w")


@pytest.mark.parametrize("prefix", ["", "module."])
def test_tensors_are_read_with_and_without_the_prefix_of_data_parallel_training(
    tmp_path, prefix
) -> None:
    path = tmp_path / "a.pt"
    weights = state_dict()
    rest = {"step": 7, "optimizer": {"state": {0: {"exp_avg": torch.ones(3)}}}, "scheduler": None}
    torch.save({"model": {prefix + k: v for k, v in weights.items()}} | rest, path)
    found = read_state_dict(path)
    assert list(found) == list(weights)
    assert all(torch.equal(found[name], weights[name]) for name in weights)


def test_parameters_and_state_dicts_of_modules_are_read(tmp_path) -> None:
    path = tmp_path / "a.pt"
    module = torch.nn.ModuleDict({"linear_no_bias_sinit": torch.nn.Linear(4, 3)})
    torch.save({"model": module.state_dict(keep_vars=True)}, path)
    found = read_state_dict(path)
    assert torch.equal(found[SINIT], module["linear_no_bias_sinit"].weight)
    assert not any(value.requires_grad for value in found.values())


def test_a_prefix_on_some_names_stays(tmp_path) -> None:
    # It then shows among the unexpected names, not as a checkpoint that fits.
    path = tmp_path / "a.pt"
    torch.save({"model": {"module.a": torch.ones(2), "b": torch.ones(2)}}, path)
    assert list(read_state_dict(path)) == ["module.a", "b"]


def test_tensors_are_mapped_from_the_file(tmp_path) -> None:
    path = tmp_path / "a.pt"
    torch.save({"model": state_dict()}, path)
    found = read_state_dict(path)
    mapped = [
        line for line in Path("/proc/self/maps").read_text().splitlines() if str(path) in line
    ]
    addresses = [int(end, 16) for line in mapped for end in line.split()[0].split("-")]
    assert all(min(addresses) <= value.data_ptr() < max(addresses) for value in found.values())


def missing(path: Path) -> None:
    pass


def folder(path: Path) -> None:
    path.mkdir()


def empty(path: Path) -> None:
    path.touch()


def truncated(path: Path) -> None:
    torch.save({"model": state_dict()}, path)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def truncated_by_a_byte(path: Path) -> None:
    torch.save({"model": state_dict()}, path)
    path.write_bytes(path.read_bytes()[:-1])


def damaged(path: Path) -> None:
    torch.save({"model": state_dict()}, path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x10
    path.write_bytes(content)


def code_in_the_archive(path: Path) -> None:
    torch.save({"model": state_dict(), "args": Payload(path.with_name("trace"))}, path)


def code_in_a_legacy_file(path: Path) -> None:
    torch.save(
        {"model": state_dict(), "args": Payload(path.with_name("trace"))},
        path,
        _use_new_zipfile_serialization=False,
    )


def code_in_a_pickle(path: Path) -> None:
    path.write_bytes(pickle.dumps(Payload(path.with_name("trace"))))


def whole_module(path: Path) -> None:
    torch.save(torch.nn.Linear(2, 2), path)


def torchscript(path: Path) -> None:
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), path)


def zip_archive(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("weights.txt", "1 2 3")


def compressed_archive(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"0" * 10**6)


def malformed_contents(path: Path) -> None:
    torch.save({"model": state_dict()}, path)
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, b"\x80\x02\xff" if name.endswith("data.pkl") else content)


def gzipped(path: Path) -> None:
    path.write_bytes(gzip.compress(b"checkpoint"))


def safetensors(path: Path) -> None:
    save_file(dict(state_dict()), path)


def web_page(path: Path) -> None:
    path.write_text("<!DOCTYPE html><html><body>404</body></html>")


def text(path: Path) -> None:
    path.write_text("weights")


def bare_tensor(path: Path) -> None:
    torch.save(torch.ones(3), path)


def bare_state_dict(path: Path) -> None:
    torch.save(state_dict(), path)


def model_that_is_a_tensor(path: Path) -> None:
    torch.save({"model": torch.ones(3)}, path)


def no_weights(path: Path) -> None:
    torch.save({"model": {}}, path)


def entries_that_are_no_weights(path: Path) -> None:
    others = {
        "a.count": torch.tensor(3),
        "a.sparse": torch.eye(3).to_sparse(),
        "a.meta": torch.empty(3, device="meta"),
        "a.name": "x",
        5: torch.ones(2),
    }
    torch.save({"model": dict(state_dict()) | others}, path)


BAD = {
    missing: ["There is no file", "protenix_base_default_v1.0.0.pt"],
    folder: ["is a folder"],
    empty: ["is empty", "Download it again"],
    truncated: ["is truncated", "Download or copy it again"],
    truncated_by_a_byte: ["is truncated"],
    damaged: ["is damaged", "checksum of checkpoint/data/0 is wrong"],
    code_in_the_archive: ["Python objects beside tensors (io.open)", "nothing was run"],
    code_in_a_legacy_file: ["a bare pickle, which is not opened because it can hold code"],
    code_in_a_pickle: ["a bare pickle"],
    whole_module: ["Python objects", "torch.nn.modules.linear.Linear", "model.state_dict()"],
    torchscript: ["a TorchScript model"],
    zip_archive: ["torch cannot read a checkpoint from it"],
    compressed_archive: ["compressed zip archive"],
    malformed_contents: ["cannot read a checkpoint from it (Unsupported operand 255)"],
    gzipped: ["compressed with gzip (unpack it first)"],
    safetensors: ["a safetensors file", "initial weights"],
    web_page: ["a download that failed"],
    text: ["not a checkpoint of torch.save"],
    bare_tensor: ["holds a Tensor, not {'model': weights}"],
    bare_state_dict: ["a dictionary with 'linear_no_bias_sinit.weight', 'layernorm_s.weight', not"],
    model_that_is_a_tensor: ["is no dictionary (Tensor)"],
    no_weights: ["is empty (dict)"],
    entries_that_are_no_weights: [
        "a.count (strided, int64)",
        "a.sparse (sparse_coo, float32)",
        "a.meta (strided, float32 on meta)",
        "a.name (str)",
        "5 (strided, float32)",
    ],
}


@pytest.mark.parametrize("make", BAD, ids=lambda make: make.__name__)
def test_a_bad_file_is_explained_and_leaves_nothing_behind(tmp_path, capsys, make) -> None:
    path = tmp_path / "checkpoint.pt"
    make(path)
    before = sorted(tmp_path.iterdir())
    output = tmp_path / "weights.safetensors"
    assert cli.main(["import-protenix", str(path), "--output", str(output)]) == 1
    # The command line wraps the paragraph, which must not hide a phrase from the comparison.
    message = " ".join(capsys.readouterr().err.split())
    assert message.startswith("Error:") and str(path) in message
    for phrase in BAD[make]:
        assert phrase in message
    assert sorted(tmp_path.iterdir()) == before


def test_the_payload_would_have_run(tmp_path) -> None:
    # Else the tests above would show nothing.
    code_in_the_archive(tmp_path / "checkpoint.pt")
    assert not (tmp_path / "trace").exists()
    torch.load(tmp_path / "checkpoint.pt", weights_only=False)["args"].close()
    assert (tmp_path / "trace").exists()
