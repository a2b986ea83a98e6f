"""The report: pictures that show the numbers given, and a page that needs nothing else."""

import html.parser
import re

import numpy as np
import pytest

from atmos_openmm.report import page, plots, style
from atmos_openmm.report.hybrid_page import Comparison, write_comparison

pytest.importorskip("matplotlib")


class _Reader(html.parser.HTMLParser):
    """Collects what a browser would load, the nesting of tags, and the text."""

    VOID = {"meta", "link", "img", "br"}

    def __init__(self):
        super().__init__()
        self.open, self.loaded, self.text, self.tags = [], [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.loaded += [value for name, value in attrs if name in ("src", "href", "srcset")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def _read(text):
    reader = _Reader()
    reader.feed(text)
    reader.close()
    assert reader.open == []
    return reader


def _series(name, phi_degrees, color, seconds=10.0):
    phi = np.radians(np.asarray(phi_degrees, float))
    return plots.TorsionSeries(
        name, phi, np.zeros_like(phi), np.linspace(0, seconds, len(phi)), color
    )


def _comparison(**changes):
    columns = ("frame", "verdict", "reason")
    values = dict(
        title="A <b>title</b> & more",
        lead="lead",
        residue="ALA2",
        hybrid=_series("Hybrid", [-60, 60, -60, 60, -60, -60], style.HYBRID_COLOR),
        md=_series("Plain MD", [-60, -70, -80, -60], style.MD_COLOR),
        hybrid_seconds=10.0,
        md_seconds=10.0,
        md_energies=np.linspace(-100, -80, 30),
        raw_energies=np.array([-90.0, 1e6, np.nan]),
        relaxed_energies=np.array([-95.0, -90, np.nan]),
        window=-60.0,
        reasons={"accepted": 2, "clash": 1},
        rmsd_nm=np.array([0.01, 0.02]),
        verdicts=page.Table(
            columns,
            (("0", "valid", ""), ("1", "invalid", "chirality of ALA2-CA")),
            flags=("good", "bad"),
        ),
        verdict_note="Both accepted frames.",
        settings={"temperature": "300 K"},
        versions={"openmm": "8.6.1"},
        jump_cost_steps=30.0,
    )
    return Comparison(**{**values, **changes})


def test_page_is_self_contained_and_escaped(tmp_path):
    path = write_comparison(tmp_path / "new" / "folder", _comparison())
    text = path.read_text(encoding="utf-8")
    reader = _read(text)
    assert reader.loaded and all(source.startswith("data:") for source in reader.loaded)
    assert not re.search(r"https?://|@import|url\(", text)
    assert ("b", {}) not in reader.tags
    images = [attrs for tag, attrs in reader.tags if tag == "img"]
    assert len(images) == 5 and all(image["alt"] for image in images)
    for name in ("ramachandran", "phi_series", "energies", "outcomes", "relaxation_rmsd"):
        assert (path.parent / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_page_states_the_numbers_and_the_bias(tmp_path):
    text = " ".join(_read(write_comparison(tmp_path, _comparison()).read_text("utf-8")).text)
    assert "4 hybrid, 0 MD" in text  # -60 60 -60 60 -60: four crossings
    assert "33.3 % and 0.0 %" in text
    assert "2 of 3" in text and "1 of 2" in text and "30 MD steps" in text
    assert "filter, not a Metropolis test" in text
    assert "chirality of ALA2-CA" in text and "8.6.1" in text


@pytest.mark.parametrize(
    "changes",
    [
        {
            "reasons": {},
            "raw_energies": np.zeros(0),
            "relaxed_energies": np.zeros(0),
            "rmsd_nm": np.zeros(0),
            "window": None,
        },
        {
            "rmsd_nm": np.array([0.0, 0.0]),
            "raw_energies": np.array([-90.0]),
            "relaxed_energies": np.array([np.nan]),
        },
    ],
)
def test_page_of_a_run_with_little_to_show(tmp_path, changes):
    text = " ".join(_read(write_comparison(tmp_path, _comparison(**changes)).read_text()).text)
    if not changes.get("reasons", True):
        assert "nothing was proposed" in text


def test_ramachandran_map_holds_every_frame_once():
    runs = [_series("a", [-179.99, 0.0, 60, 60], "k"), _series("b", [-60, -60], "k")]
    figure = plots.ramachandran_maps(runs)
    meshes = [ax.collections[0] for ax in figure.axes[:2]]
    for mesh in meshes:
        assert np.ma.sum(mesh.get_array()) == pytest.approx(100)
    assert meshes[0].norm.vmin == meshes[1].norm.vmin
    assert meshes[0].norm.vmax == meshes[1].norm.vmax


def test_energy_plot_tells_what_lies_beyond_its_edge():
    figure = plots.proposal_energies(
        np.linspace(-100, -80, 50),
        np.array([-90.0, 1e4, np.inf]),
        np.array([-95.0, -90.0, np.nan]),
        -50.0,
    )
    labels = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert labels == [
        "MD frames (50)",
        "proposals, raw (2; 1 beyond the edge)",
        "proposals, relaxed (2)",
    ]


def test_outcomes_are_ordered_and_complete():
    figure = plots.outcome_bars({"energy": 2, "clash": 5, "accepted": 3, "rings": 0})
    ax = figure.axes[0]
    assert [bar.get_width() for bar in ax.patches] == [3, 5, 2]
    assert ax.texts[0].get_text() == "3 (30.0 %)"


def test_the_users_matplotlib_settings_are_left_alone():
    import matplotlib

    before = dict(matplotlib.rcParams)
    plots.outcome_bars({"accepted": 1})
    assert dict(matplotlib.rcParams) == before


def test_table_refuses_a_row_that_does_not_fit():
    table = page.Table(("a", "b"), (("1",),))
    with pytest.raises(ValueError, match="columns are 2"):
        page.render_page("t", "l", [], [page.Section("s", [table])])
