"""A small molecule's System in the vectorised engine of `batched_md.cpp`: 16 copies a step.

OpenMM's CPU platform spends most of a step of 20 to 80 atoms on its overhead; this engine makes
references about a hundred times longer at the same price. It knows what Amber force fields with
OBC1 or GBn2 need, and its energies and forces are compared with OpenMM's before each use.
"""

from __future__ import annotations

import ctypes
import hashlib
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

LANES = 16
_SOURCE = Path(__file__).with_name("batched_md.cpp")
_FLAGS = "-std=c++20 -O3 -march=native -ffast-math -mprefer-vector-width=512 -shared -fPIC".split()
_PERIODS = 6
_COULOMB = 138.935485
_NECK_SCALE, _NECK_REACH_NM = 0.826836, 0.68
_OFFSET_NM = {"OBC1": 0.009, "GBn2": 0.0195141}


class _Molecule(ctypes.Structure):
    _fields_ = [
        *(
            (name, ctypes.c_int)
            for name in "atoms bonds angles torsions constraints biases".split()
        ),
        *(
            (name, ctypes.c_void_p)
            for name in "bondAtoms angleAtoms torsionAtoms constraintAtoms biasAtoms bondTerms "
            "angleTerms torsionTerms biasTerms biasScales constraintLengths pairTerms atomTerms "
            "masses".split()
        ),
        ("solvation", ctypes.c_float),
        ("surface", ctypes.c_float),
    ]


def _library() -> ctypes.CDLL:
    """Compile the engine, once for each source, and load it."""
    text = _SOURCE.read_bytes() + " ".join(_FLAGS).encode()
    name = f"batched_md_{hashlib.sha256(text).hexdigest()[:16]}.so"
    target = Path(tempfile.gettempdir()) / name
    if not target.exists():
        with tempfile.TemporaryDirectory() as folder:
            built = Path(folder) / name
            subprocess.run(["g++", *_FLAGS, "-o", built, _SOURCE, "-lm"], check=True)
            target.write_bytes(built.read_bytes())
    return ctypes.CDLL(str(target))


class BatchedMD:
    """The engine for one System.

    Parameters
    ----------
    system : openmm.System
        Harmonic bonds and angles, periodic torsions with phases 0 or pi, a NonbondedForce without
        cutoff, a CustomGBForce made by OpenMM's `implicit/obc1.xml` or `implicit/gbn2.xml`.

    Raises
    ------
    ValueError
        The System has a force, a parameter or a cutoff that the engine does not know.
    """

    def __init__(self, system: Any) -> None:
        self.system = system
        self._library = _library()
        atoms = system.getNumParticles()
        forces = {force.getName(): force for force in system.getForces()}
        forces.pop("CMMotionRemover", None)
        arrays: dict[str, NDArray[Any]] = {
            **_bonded(forces),
            **_constraints(system),
            **_pairs(forces.pop("NonbondedForce"), forces.pop("CustomGBForce"), atoms),
            "masses": np.array([system.getParticleMass(i)._value for i in range(atoms)]),
            "biasAtoms": np.zeros((0, 4)),
            "biasTerms": np.zeros((0, 2 * _PERIODS)),
            "biasScales": np.zeros(LANES),
        }
        if forces:
            raise ValueError(f"The batched engine does not know {', '.join(forces)}.")
        self._kept = {
            name: np.ascontiguousarray(a, np.int32 if name.endswith("Atoms") else np.float32)
            for name, a in arrays.items()
        }
        counts = {f"{k}s": len(arrays[f"{k}Atoms"]) for k in ("bond", "angle", "torsion")}
        self._molecule = _Molecule(
            atoms=atoms,
            constraints=len(arrays["constraintLengths"]),
            solvation=_COULOMB * (1 - 1 / 78.5),
            surface=28.3919551,
            **counts,
            **{name: a.ctypes.data for name, a in self._kept.items()},
        )

    def set_bias(self, atoms: NDArray[Any], terms: NDArray[Any], scales: NDArray[Any]) -> None:
        """Bias torsions [B, 4] by series [B, 12] of cosines and sines (kJ/mol), scales [16]."""
        new = {"biasAtoms": atoms, "biasTerms": terms, "biasScales": scales}
        for name, values in new.items():
            dtype = np.int32 if name.endswith("Atoms") else np.float32
            self._kept[name] = np.ascontiguousarray(values, dtype)
            setattr(self._molecule, name, self._kept[name].ctypes.data)
        self._molecule.biases = len(atoms)

    def evaluate(self, positions_nm: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
        """Energies [16] without the bias, forces [A, 3, 16] with it, of positions [A, 3, 16]."""
        x = np.ascontiguousarray(positions_nm, np.float32)
        energies, forces = np.empty(LANES, np.float32), np.empty_like(x)
        self._library.evaluate(ctypes.byref(self._molecule), *map(_pointer, (x, energies, forces)))
        return energies, forces

    def advance(
        self,
        state: dict[str, NDArray[Any]],
        kT: NDArray[Any],
        step_ps: float,
        friction: float,
        steps: int,
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        """Step `state` (positions, velocities [A, 3, 16], random [4, 16]).

        Returns
        -------
        energies, biases : float32 [16]
            At the end; the bias is not in the energies, and not scaled.
        """
        energies, biases = np.empty(LANES, np.float32), np.empty(LANES, np.float32)
        thermal = np.ascontiguousarray(kT, np.float32)
        self._library.advance(
            ctypes.byref(self._molecule),
            *(_pointer(state[name]) for name in ("positions", "velocities", "random")),
            _pointer(thermal),
            ctypes.c_float(step_ps),
            ctypes.c_float(friction),
            ctypes.c_int(steps),
            _pointer(energies),
            _pointer(biases),
        )
        return energies, biases

    def compare(self, positions_nm: NDArray[Any]) -> tuple[float, float]:
        """Largest differences from OpenMM's Reference platform over positions [A, 3, 16].

        Returns
        -------
        energy : float
            kJ/mol.
        force : float
            As a share of the root mean square force.
        """
        import openmm
        from openmm import unit

        platform = openmm.Platform.getPlatformByName("Reference")
        integrator = openmm.VerletIntegrator(0.001)
        context = openmm.Context(self.system, integrator, platform)
        energies, forces = self.evaluate(positions_nm)
        energy_off = force_off = 0.0
        for lane in range(LANES):
            context.setPositions(np.asarray(positions_nm[..., lane], float))
            state = context.getState(energy=True, forces=True)
            truth = state.getForces(asNumpy=True)._value
            energy = state.getPotentialEnergy().value_in_unit(unit.kilojoule_per_mole)
            scale = np.sqrt(np.mean(truth**2))
            energy_off = max(energy_off, abs(float(energies[lane]) - energy))
            force_off = max(force_off, float(np.abs(forces[..., lane] - truth).max() / scale))
        return energy_off, force_off


def _pointer(array: NDArray[Any]) -> ctypes.c_void_p:
    if not array.flags.c_contiguous:
        raise ValueError("The engine takes contiguous arrays.")
    return ctypes.c_void_p(array.ctypes.data)


def _bonded(forces: dict[str, Any]) -> dict[str, NDArray[Any]]:
    bonds, angles = forces.pop("HarmonicBondForce"), forces.pop("HarmonicAngleForce")
    torsions = forces.pop("PeriodicTorsionForce")
    bond = [bonds.getBondParameters(i) for i in range(bonds.getNumBonds())]
    angle = [angles.getAngleParameters(i) for i in range(angles.getNumAngles())]
    terms: dict[tuple[int, ...], NDArray[Any]] = {}
    for i in range(torsions.getNumTorsions()):
        *atoms, period, phase, k = torsions.getTorsionParameters(i)
        sign = np.cos(phase._value)
        if abs(abs(sign) - 1) > 1e-6 or period > _PERIODS:
            raise ValueError(f"A torsion has phase {phase} and periodicity {period}.")
        terms.setdefault(tuple(atoms), np.zeros(_PERIODS))[period - 1] += sign * k._value
    # Constant parts: the engine adds |k| for each sum of terms; sums of one sign only are exact.
    return {
        "bondAtoms": np.array([b[:2] for b in bond]),
        "bondTerms": np.array([[b[2]._value, b[3]._value] for b in bond]),
        "angleAtoms": np.array([a[:3] for a in angle]),
        "angleTerms": np.array([[a[3]._value, a[4]._value] for a in angle]),
        "torsionAtoms": np.array(list(terms)),
        "torsionTerms": np.array(list(terms.values())),
    }


def _constraints(system: Any) -> dict[str, NDArray[Any]]:
    found = [system.getConstraintParameters(i) for i in range(system.getNumConstraints())]
    return {
        "constraintAtoms": np.array([c[:2] for c in found]).reshape(-1, 2),
        "constraintLengths": np.array([c[2]._value for c in found]),
    }


def _pairs(nonbonded: Any, born: Any, atoms: int) -> dict[str, NDArray[Any]]:
    if nonbonded.getNonbondedMethod() != nonbonded.NoCutoff:
        raise ValueError("The batched engine takes all pairs; the NonbondedForce has a cutoff.")
    own = np.array([[p._value for p in nonbonded.getParticleParameters(i)] for i in range(atoms)])
    first, second = np.triu_indices(atoms, 1)
    place = np.zeros((atoms, atoms), int)
    place[first, second] = np.arange(len(first))
    charges = own[first, 0] * own[second, 0]
    sigma = 0.5 * (own[first, 1] + own[second, 1])
    epsilon = np.sqrt(own[first, 2] * own[second, 2])
    for k in range(nonbonded.getNumExceptions()):
        i, j, charge, length, depth = nonbonded.getExceptionParameters(k)
        at = place[min(i, j), max(i, j)]
        charges[at], sigma[at], epsilon[at] = charge._value, length._value, depth._value
    terms = np.zeros((len(first), 8))
    terms[:, 0] = _COULOMB * charges
    terms[:, 1], terms[:, 2] = 4 * epsilon * sigma**12, 4 * epsilon * sigma**6
    names = [born.getPerParticleParameterName(i) for i in range(born.getNumPerParticleParameters())]
    atom = np.array([born.getParticleParameters(i) for i in range(atoms)])
    kind = "GBn2" if "radindex" in names else "OBC1"
    radius = atom[:, 1] + _OFFSET_NM[kind]
    curve = atom[:, 3:6] if kind == "GBn2" else np.tile([0.8, 0.0, 2.909125], (atoms, 1))
    if kind == "GBn2":
        index = atom[:, 6].astype(int)
        tables = {
            born.getTabulatedFunctionName(i): born.getTabulatedFunction(i).getFunctionParameters()
            for i in range(born.getNumTabulatedFunctions())
        }
        # OpenMM's tables run fastest along the first index.
        m0, d0 = (
            np.array(tables[name][2]).reshape(tables[name][1], tables[name][0]).T[index][:, index]
            for name in ("getm0", "getd0")
        )
        for column, (i, j) in ((3, (first, second)), (5, (second, first))):
            terms[:, column], terms[:, column + 1] = _NECK_SCALE * m0[i, j], d0[i, j]
        terms[:, 7] = radius[first] + radius[second] + _NECK_REACH_NM
    return {"pairTerms": terms, "atomTerms": np.column_stack([atom[:, :3], curve, radius])}
