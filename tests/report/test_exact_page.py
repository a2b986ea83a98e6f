"""The page of an exact run shows its averages, and needs nothing else."""

import exact_cases
import numpy as np
import pytest

from atmos_openmm.core.files import StorageError
from atmos_openmm.report import exact_page
from atmos_openmm.sampling.averages import compute_averages

pytest.importorskip("matplotlib")

NAMES = ("ALA2 phi", "ALA2 psi", "LEU3 phi", "LEU3 psi", "LEU3 chi1")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "run"
    with exact_cases.exact_sampler(path) as sampler:
        sampler.run(cycles=30)
    return path


def test_a_page_shows_the_averages_of_its_run(folder):
    page = exact_page.write_exact_page(folder)
    text = page.read_text()
    assert "Averages of" in text and "Boltzmann" in text
    averages = exact_page.averages_of(folder)
    for basin in averages.basins:
        shown = f"{basin.torsion}  {basin.basin}".replace(">", "&gt;")
        assert shown in text and f"{basin.population:.4f}" in text
    for warning in averages.warnings:
        assert warning.replace(">", "&gt;") in text
    for name in ("ramachandran.png", "populations.png", "acceptance.png"):
        assert (folder / name).read_bytes().startswith(b"\x89PNG")
    assert "http" not in text and text.count("data:image/png") == 3


def test_a_run_without_frames_has_a_page(tmp_path):
    with exact_cases.exact_sampler(tmp_path / "run"):
        pass
    text = exact_page.write_exact_page(tmp_path / "run").read_text()
    assert "too few frames" not in text and "ramachandran" not in text


def test_another_folder_is_refused(tmp_path):
    with pytest.raises(StorageError, match="run.json"):
        exact_page.write_exact_page(tmp_path)


def test_bars_stand_for_populations_and_their_colour_for_agreement():
    angles = np.random.default_rng(1).uniform(-np.pi, np.pi, (3, 200, 5))
    angles[0, :, 4] = 1.0  # one walker stays where it is
    averages = compute_averages(angles, NAMES, 300.0, 10.0)
    (axis,) = exact_page.population_bars(averages.basins).axes
    bars = axis.patches
    assert [bar.get_width() for bar in bars] == pytest.approx(
        [100 * basin.population for basin in averages.basins]
    )
    colours = {bar.get_facecolor() for bar in bars[:6]}
    assert len(colours) == 1 and bars[-1].get_facecolor() not in colours


def test_each_residue_has_its_map():
    angles = np.random.default_rng(1).uniform(-np.pi, np.pi, (500, 5))
    figure = exact_page.residue_maps(angles, [("ALA2", 0, 1), ("LEU3", 2, 3)])
    assert [axis.get_title(loc="left") for axis in figure.axes[:2]] == ["ALA2", "LEU3"]
    figure = exact_page.residue_maps(angles, [("ALA2", 0, 1)])
    assert len(figure.axes) == 2  # the map and its scale


def test_acceptance_is_that_of_the_moves():
    (axis,) = exact_page.acceptance_bars({"all": (200, 50), "torsion": (0, 0)}).axes
    assert [bar.get_width() for bar in axis.patches] == [25]
    assert "25.0 % of 200" in [text.get_text() for text in axis.texts]
