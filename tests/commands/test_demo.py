"""`atmos-openmm demo` with the bundled model, cut to half a minute."""

import csv
import html.parser
import subprocess
import sys

import pytest

from atmos_openmm.cli import main
from atmos_openmm.propagator import bundled_models


class _Text(html.parser.HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.parts = []
        self.feed(text)

    def handle_data(self, data):
        self.parts.append(data)


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    assert "capped-amino-acids" in bundled_models()
    output = tmp_path_factory.mktemp("demo") / "out"
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "atmos_openmm",
            "demo",
            "--output",
            str(output),
            "--minutes",
            "0.4",
            "--seed",
            "3",
        ],
        capture_output=True,
        text=True,
        timeout=400,
    )
    assert done.returncode == 0, done.stderr
    return output, done


def test_demo_writes_a_page_plots_and_tables_and_says_where(demo):
    output, done = demo
    assert str(output / "report.html") in done.stdout
    names = {path.name for path in output.iterdir()}
    assert {
        "report.html",
        "generated_frames.csv",
        "torsions.csv",
        "exact",
        "hybrid",
        "populations.png",
        "error_against_time.png",
        "ramachandran.png",
        "phi_series.png",
        "energies.png",
        "outcomes.png",
        "relaxation_rmsd.png",
    } == names
    page = (output / "report.html").read_text(encoding="utf-8")
    assert "http://" not in page and "https://" not in page
    text = " ".join(_Text(page).parts)
    assert "filter, not a Metropolis test" in text and "ACE-ALA-NME" in text


def test_demo_judges_generated_frames_and_proposes_some(demo):
    output, _ = demo
    with open(output / "generated_frames.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows, "no frame was generated and validated"
    assert [int(row["attempt"]) for row in rows] == list(range(len(rows)))
    for row in rows:
        assert row["verdict"] in ("valid", "valid after relaxation", "invalid")
        # A frame that the validator finds to have a wrong hand must not have been accepted.
        if row["wrong_chirality"]:
            assert row["outcome_in_run"] != "accepted"
    assert any(row["outcome_in_run"] == "accepted" for row in rows)


def test_demo_shows_the_exact_run_beside_the_reference(demo):
    output, _ = demo
    text = " ".join(_Text((output / "report.html").read_text(encoding="utf-8")).parts)
    assert "a long reference says 2.0 ± 0.2 %" in text
    assert "of Filter they are the model's" in text and "What is exact." in text
    with open(output / "torsions.csv", encoding="utf-8", newline="") as file:
        exact = [row for row in csv.DictReader(file) if row["run"] == "exact"]
    assert {row["walker"] for row in exact} == {"0", "1"} and len(exact) >= 40
    # The making of the density is in the run's time.
    assert float(exact[0]["wall_clock_s"]) > 0.3


def test_demo_gives_all_runs_the_same_time(demo):
    output, _ = demo
    last = {}
    with open(output / "torsions.csv", encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            last[row["run"]] = float(row["wall_clock_s"])
    # Plain MD stops at the first frame after the hybrid's clock.
    assert last["md"] >= last["hybrid"]
    assert last["md"] - last["hybrid"] < 0.25 * last["hybrid"]


def test_demo_refuses_a_folder_that_holds_something(demo, tmp_path, capsys):
    output, _ = demo
    before = sorted(path.name for path in output.iterdir())
    assert main(["demo", "--output", str(output)]) == 1
    assert "is not empty" in " ".join(capsys.readouterr().err.split())
    assert sorted(path.name for path in output.iterdir()) == before
    file = tmp_path / "file"
    file.write_text("x")
    assert main(["demo", "--output", str(file)]) == 1
    assert "is a file" in " ".join(capsys.readouterr().err.split())
    assert file.read_text() == "x"


def test_demo_names_a_model_that_is_not_there(tmp_path, capsys):
    assert main(["demo", "--output", str(tmp_path / "new"), "--model", "no-such-model"]) == 1
    assert "no-such-model" in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "new").exists()
