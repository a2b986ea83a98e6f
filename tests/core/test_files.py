"""Files that are there whole or not at all, locks, and settings that must match."""

from __future__ import annotations

import errno
import json

import pytest

from atmos_openmm.core.files import (
    StorageError,
    check_writable,
    explained,
    remove_leftovers,
    replacement,
    sha256_of_file,
    write_atomically,
)
from atmos_openmm.core.locks import FolderLock
from atmos_openmm.core.settings import SettingsMismatchError, check_same_settings, differences


def test_a_failure_leaves_the_old_file(tmp_path):
    path = tmp_path / "file"
    write_atomically(path, b"old")
    with pytest.raises(KeyError), replacement(path) as temporary:
        temporary.write_bytes(b"half of the n")
        raise KeyError
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
    write_atomically(path, b"new")
    assert path.read_bytes() == b"new"


def test_a_full_disk_is_told_with_the_file(tmp_path):
    with pytest.raises(OSError, match="No space left on device: .*page.html"):  # noqa: SIM117
        with replacement(tmp_path / "page.html"):
            raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_says_what_is_safe(tmp_path):
    with (
        pytest.raises(StorageError, match="No space is left for .* Cycle 3 is safe. Make room"),
        explained(tmp_path, "Cycle 3 is safe."),
    ):
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_folder_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError, match="Choose another folder"):
        check_writable(tmp_path / "file" / "folder")


def test_leftovers_go_and_nothing_else(tmp_path):
    for name in ("a.tmp", "b.npz"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / ".made-1").mkdir()
    remove_leftovers(tmp_path, ".made-*")
    assert [p.name for p in tmp_path.iterdir()] == ["b.npz"]


def test_a_folder_has_one_process(tmp_path):
    lock = FolderLock(tmp_path)
    with pytest.raises(StorageError, match="Another process is running in"):
        FolderLock(tmp_path)
    lock.release()
    FolderLock(tmp_path).release()


def test_the_hash_is_that_of_the_content(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"abc")
    # FIPS 180-2, appendix B.1.
    assert sha256_of_file(path).startswith("ba7816bf8f01cfea414140de5dae2223")


def test_settings_that_differ_are_named():
    stored = json.loads(json.dumps({"a": (1, 2), "b": 1, "gone": 3, "planned": 1}))
    assert differences(stored, {"a": (1, 2), "b": 1, "gone": 3}, ["planned"]) == []
    with pytest.raises(SettingsMismatchError, match="b: 1 there, 2 now; gone: 3 there, None now"):
        check_same_settings(stored, {"a": [1, 2], "b": 2}, "here", ignore=["planned"])
    assert issubclass(SettingsMismatchError, ValueError)
    assert issubclass(SettingsMismatchError, StorageError)


@pytest.mark.parametrize(
    "number, remedy", [(errno.ENOSPC, "make room"), (errno.EACCES, "give yourself the right")]
)
def test_a_folder_without_room_is_not_one_without_rights(tmp_path, monkeypatch, number, remedy):
    def refuse(*arguments):
        raise OSError(number, "no")

    monkeypatch.setattr("atmos_openmm.core.files.open", refuse, raising=False)
    with pytest.raises(StorageError, match=f"Choose another folder, or {remedy}"):
        check_writable(tmp_path)


def test_an_error_that_names_no_file_gets_one_and_keeps_its_text(tmp_path):
    path = tmp_path / "file"
    with pytest.raises(OSError, match=r"\[Errno 28\] full: '.*file'"), replacement(path):
        raise OSError(errno.ENOSPC, "full")
    with pytest.raises(OSError, match="^the disk went away$"), replacement(path):
        raise OSError("the disk went away")
