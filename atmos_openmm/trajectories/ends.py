"""Where the frames of a file end, since a file that is cut short is read without a word.

Readers stop at the last whole frame, or fail at the first chunk that is not whole. Here only the
lengths of frames are read, and compared with the length of the file.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

__all__ = ["End", "find_end"]


@dataclass(frozen=True)
class End:
    """How a file ends.

    Attributes
    ----------
    whole : int
        Frames that are there as a whole.
    cut : bool
        Whether part of another one follows.
    announced : int
        Frames that the header tells of; 0 where it tells of none.
    """

    whole: int
    cut: bool = False
    announced: int = 0

    def remark(self, path: Path) -> str:
        """What is wrong with it, in a sentence; '' for nothing."""
        if self.announced > self.whole:
            return (
                f"{path} announces {self.announced} frames and holds {self.whole}; it seems to be "
                "cut short"
            )
        if self.cut:
            return (
                f"{path} ends within frame {self.whole}, counted from 0; it seems to be cut short"
            )
        return ""


def find_end(path: Path, extension: str, num_atoms: int) -> End | None:
    """Count the whole frames of a file by their lengths.

    Parameters
    ----------
    path : Path
    extension : str
        Of the format, with its dot.
    num_atoms : int
        Of a frame; formats that say it themselves do not need it.

    Returns
    -------
    End or None
        None for formats that tell such a thing themselves, and where the lengths make no sense.
    """
    find = _FORMATS.get(extension)
    if find is None:
        return None
    with path.open("rb") as file:
        size = path.stat().st_size
        try:
            return find(file, size, num_atoms)
        except (struct.error, ValueError, LookupError, ZeroDivisionError):
            return None


def _counted(lengths: Iterator[int | None], size: int) -> End | None:
    """Follow frames to the end of a file; None where one of them is none."""
    whole = place = 0
    for length in lengths:
        if length is None:
            return None
        if place + length > size:
            return End(whole, cut=True)
        whole, place = whole + 1, place + length
    return End(whole, cut=place < size)


def _xtc(file: BinaryIO, size: int, num_atoms: int) -> End | None:
    def lengths() -> Iterator[int | None]:
        place = 0
        while len(head := file.read(96)) >= 56:
            magic, atoms = struct.unpack_from(">2i", head)
            if magic not in (1995, 2023):
                yield None
            length = 56 + 12 * atoms
            if atoms > 9:  # compressed
                kind = ">i" if magic == 1995 else ">q"
                start = 88 + struct.calcsize(kind)
                if len(head) < start:
                    return
                (data,) = struct.unpack_from(kind, head, 88)
                length = start + -(-data // 4) * 4
            yield length
            place += length
            file.seek(place)

    return _counted(lengths(), size)


def _trr(file: BinaryIO, size: int, num_atoms: int) -> End | None:
    def lengths() -> Iterator[int | None]:
        place = 0
        while len(head := file.read(76)) == 76:
            if struct.unpack_from(">3i", head) != (1993, 13, 12):
                yield None
            sizes = struct.unpack_from(">10i", head, 24)
            (atoms,) = struct.unpack_from(">i", head, 64)
            double = sizes[2] == 72 or (atoms > 0 and max(sizes[7:]) == 24 * atoms)
            length = 76 + (16 if double else 8) + sum(sizes)
            yield length
            place += length
            file.seek(place)

    return _counted(lengths(), size)


def _dcd(file: BinaryIO, size: int, num_atoms: int) -> End | None:
    head = file.read(92)
    order = "<" if head[:4] == struct.pack("<i", 84) else ">"
    announced, fixed = (struct.unpack_from(f"{order}i", head, at)[0] for at in (8, 40))
    has_cell, version = (struct.unpack_from(f"{order}i", head, at)[0] for at in (48, 84))
    (title,) = struct.unpack(f"{order}i", file.read(4))
    file.seek(92 + 8 + title)
    length, atoms = struct.unpack(f"{order}2i", file.read(8))
    if length != 4:
        return None
    frames = size - (92 + 8 + title + 12)
    each = 3 * (8 + 4 * atoms) + (56 if version and has_cell else 0)
    if fixed or version == 0:  # later frames have fewer numbers, or the times are doubles
        return None
    return End(frames // each, bool(frames % each), announced)


def _netcdf(file: BinaryIO, size: int, num_atoms: int) -> End | None:
    """Of the classic format, which AMBER writes; by its specification's names."""
    magic = file.read(4)
    if magic not in (b"CDF\x01", b"CDF\x02"):
        return None
    offset = ">i" if magic[3] == 1 else ">q"
    widths = {1: 1, 2: 1, 3: 2, 4: 4, 5: 4, 6: 8}  # bytes of each type

    def number(kind: str = ">i") -> int:
        return int(struct.unpack(kind, file.read(struct.calcsize(kind)))[0])

    def skip(length: int) -> None:
        file.seek(-(-length // 4) * 4, 1)

    def elements() -> range:
        number()  # what they are
        return range(number())

    def skip_attributes() -> None:
        for _ in elements():
            skip(number())
            skip(widths[number()] * number())

    announced, dimensions, starts, lengths = number(), [], [], []
    for _ in elements():
        skip(number())
        dimensions.append(number())
    skip_attributes()
    for _ in elements():
        skip(number())
        shape = [number() for _ in range(number())]
        skip_attributes()
        number()
        length, start = number(), number(offset)
        if shape and dimensions[shape[0]] == 0:  # a part of every frame
            lengths.append(length)
            starts.append(start)
    whole, rest = divmod(size - min(starts), sum(lengths))
    return End(max(whole, 0), bool(rest), max(announced, 0))


def _binpos(file: BinaryIO, size: int, num_atoms: int) -> End | None:
    whole, rest = divmod(size - 4, 4 + 12 * num_atoms)
    return End(whole, bool(rest))


def _xyz(file: BinaryIO, size: int, num_atoms: int) -> End | None:
    return _lines(list(file), num_atoms + 2)


def _mdcrd(file: BinaryIO, size: int, num_atoms: int) -> End | None:
    file.readline()
    lines, each = list(file), -(-3 * num_atoms // 10)
    has_box = len(lines) > each > 1 and len(lines[each].split()) == 3
    return _lines(lines, each + has_box)


def _lammpstrj(file: BinaryIO, size: int, num_atoms: int) -> End | None:
    return _lines(list(file), num_atoms + 9)  # step, number, box and columns, each with its title


def _pdb(file: BinaryIO, size: int, num_atoms: int) -> End | None:
    heads = [line[:6] for line in file]
    begun, ended = heads.count(b"MODEL "), heads.count(b"ENDMDL")
    return End(ended, cut=True) if begun == ended + 1 > 1 else None


def _lines(lines: list[bytes], each: int) -> End | None:
    """Frames of a text file, of so many lines each."""
    whole, rest = divmod(len(lines), each)
    if rest == 0 and whole > 1 and not lines[-1].endswith(b"\n"):
        # The same line of the frame before shows what it should look like.
        cut = _shape(lines[-1]) < _shape(lines[-1 - each])
        whole, rest = whole - cut, int(cut)
    return End(whole, bool(rest))


def _shape(line: bytes) -> tuple[int, int]:
    """How many numbers a line has, and how many decimals the last one."""
    return line.count(b"."), len(line.strip().rpartition(b".")[2])


_FORMATS: dict[str, Callable[[BinaryIO, int, int], End | None]] = {
    ".xtc": _xtc,
    ".trr": _trr,
    ".dcd": _dcd,
    ".nc": _netcdf,
    ".ncdf": _netcdf,
    ".netcdf": _netcdf,
    ".binpos": _binpos,
    ".xyz": _xyz,
    ".mdcrd": _mdcrd,
    ".crd": _mdcrd,
    ".lammpstrj": _lammpstrj,
    ".pdb": _pdb,
}
