"""Walkers with one archive share the module that is loaded from it, and nothing else."""

from __future__ import annotations

import copy
import gc
import pickle
import threading

import numpy as np
import openmm
import torch
from integrator_support import Rotor, make_context, make_integrator, phase_point, rotor_bytes

from atmos_openmm.integrator import AtmosIntegrator
from atmos_openmm.jump.identity import module_bytes

STEPS = 60


class _Announced(Rotor):
    """Prints a line when its size is asked for, which is once, when it is loaded."""

    @torch.jit.export
    def num_atoms(self) -> int:
        print("loaded")
        return self.atoms


def _walker(archive, seed):
    """A walker whose dynamics draws nothing from the generator that a process has one of."""
    integrator = make_integrator(archive, seed=seed)
    integrator.setFriction(0.0)
    return integrator, make_context(integrator)


def _end(walker):
    integrator, context = walker
    assert integrator.getNumProposed() == STEPS // 10 - 1 and integrator.getNumAccepted() > 0
    return phase_point(context), integrator.getHiddenState()


def _assert_same_ends(walkers, expected):
    for walker, (phase, state) in zip(walkers, expected, strict=True):
        found, hidden = _end(walker)
        np.testing.assert_array_equal(found, phase)
        np.testing.assert_array_equal(hidden, state)


def _alone():
    """How walkers end that have a module, and the process, to themselves."""
    ends = []
    for seed in (1, 2, 3, 4):
        walker = _walker(rotor_bytes(), seed)
        walker[0].step(STEPS)
        ends.append(_end(walker))
        del walker
        gc.collect()
    return ends


def test_walkers_and_copies_load_their_archive_once(capfd):
    archive = module_bytes(_Announced())
    walkers = [_walker(archive, seed) for seed in (1, 2, 3, 4)]
    first = walkers[0][0]
    copies = [
        copy.copy(first),
        pickle.loads(pickle.dumps(first)),
        AtmosIntegrator.cast(
            openmm.XmlSerializer.deserialize(openmm.XmlSerializer.serialize(first))
        ),
    ]
    assert all(each.getModule() == archive for each in copies)
    assert capfd.readouterr().out.count("loaded") == 1

    # In turn, so that each finds the module as another left it.
    for _ in range(STEPS // 5):
        for walker in walkers:
            walker[0].step(5)
    _assert_same_ends(walkers, _alone())

    # Once nobody holds the module any more it is gone, and loaded anew.
    del walkers, walker, first, copies
    gc.collect()
    assert capfd.readouterr().out == ""
    make_integrator(archive)
    assert capfd.readouterr().out.count("loaded") == 1


def test_walkers_in_threads_share_a_module():
    expected = _alone()
    walkers = [_walker(rotor_bytes(), seed) for seed in (1, 2, 3, 4)]
    threads = [threading.Thread(target=integrator.step, args=(STEPS,)) for integrator, _ in walkers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    _assert_same_ends(walkers, expected)
