"""The README's figure is current: data, drawing code and the configuration of the ablation."""

import json
import runpy

import pandas as pd

from cloob.report.figures import zeroshot
from cloob.report.names import Labels
from cloob.report.render.style import figure_style, save_figure
from tests.helpers.repository import ROOT

FOLDER = ROOT / "docs" / "figures"
UPDATE = runpy.run_path(str(FOLDER / "update.py"))
REMEDY = "run `make ablation figures-readme`"


def provenance() -> dict:
    return json.loads((FOLDER / "zeroshot.json").read_text(encoding="utf-8"))


def test_the_readme_shows_the_figure() -> None:
    assert "](docs/figures/zeroshot.png)" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_files_are_those_of_the_provenance() -> None:
    digests = {name: UPDATE["sha256"]((FOLDER / name).read_bytes()) for name in provenance()["files"]}
    assert digests == provenance()["files"], REMEDY


def test_configuration_is_that_of_the_ablation() -> None:
    assert provenance()["config"] == json.loads(json.dumps(UPDATE["ablation_config"]())), REMEDY


def test_redrawing_from_the_data_gives_the_same_image(tmp_path) -> None:
    config = provenance()["config"]
    labels = Labels(title_suffix=config["title_suffix"], corpus_titles=config["corpus_titles"])
    data = pd.read_csv(FOLDER / "zeroshot.csv")
    with figure_style():
        save_figure(zeroshot.draw(data, labels), data, tmp_path / "zeroshot.png", inputs=[])
    assert (tmp_path / "zeroshot.png").read_bytes() == (FOLDER / "zeroshot.png").read_bytes(), REMEDY
