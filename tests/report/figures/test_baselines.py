"""Released models in figures: beside the runs, never among them, and only if they are given."""

import json
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from cloob.common.errors import InputError
from cloob.report.load.inputs import Baseline, Inputs
from cloob.report.load.paper import PaperColumn
from cloob.report.load.released import RELEASED, split_baselines
from cloob.report.names import Labels
from cloob.report.render.style import PALETTE, figure_style
from tests.helpers.figure_layout import check_layout
from tests.helpers.synthetic_results import SyntheticResults, write_synthetic_results

MODELS = (
    PaperColumn("YFCC15M", "RN50", "CLOOB", 28),
    PaperColumn("YFCC15M", "RN50", "CLIP (open_clip)", "final"),
    PaperColumn("WIT", "RN50", "CLIP (OpenAI)", "final"),
    PaperColumn("A corpus with a very long name", "RN50", "A method with a very long name", "final"),
)
RN101 = PaperColumn("YFCC15M", "RN101", "CLIP (open_clip)", "final")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> SyntheticResults:
    """CLIP and CLOOB, one seed, one epoch."""
    folder = tmp_path_factory.mktemp("runs")
    return write_synthetic_results(
        folder, objectives=("clip", "cloob"), seeds=(1,), epochs=(31,), eval_epochs=(31,)
    )


def baseline(folder: Path, model: PaperColumn, protocol: str, dataset: str, value: float) -> Baseline:
    """Write a result of a released model."""
    metrics = {"accuracy": value, "ajne_image": 100 * value, "ajne_text": 80 * value}
    ranks = np.arange(1, 513)
    # Half of the eigenvalues are equal, the others zero.
    spectrum = list(np.where(ranks <= 256, value, 0.0))
    edges = np.linspace(-1, 1, 101)
    matched, unmatched = np.zeros((2, 100), dtype=int)
    matched[80], unmatched[50] = 1000, 999_000
    result = {
        "spectrum": {"image": spectrum, "text": spectrum},
        "similarities": {
            "edges": edges.tolist(),
            "matched": matched.tolist(),
            "unmatched": unmatched.tolist(),
        },
        "run": {"name": "released", "architecture": model.architecture},
        "epoch": None if model.epoch == "final" else model.epoch,
        "protocol": protocol,
        "dataset": dataset,
        "images": 1000,
        "metrics": metrics,
    }
    path = folder / f"{len(list(folder.iterdir()))}.json"
    path.write_text(json.dumps(result))
    return Baseline(model, "", path)


def draw(name: str, inputs: Inputs) -> tuple[pd.DataFrame, Figure]:
    figure_module = import_module(f"cloob.report.figures.{name}")
    data = figure_module.read(inputs)
    with figure_style():
        figure = figure_module.draw(data, Labels("", {"cc3m": "Conceptual Captions"}))
        FigureCanvasAgg(figure).draw()
    return data, figure


def legend_of(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts() if text.get_text()]


ZEROSHOT = ("zeroshot", "zeroshot", "gtsrb", lambda results: results.zeroshot)
AJNE = ("ajne", "embedding_structure", "cc3m_validation", lambda results: results.structure)


@pytest.mark.parametrize(("name", "protocol", "dataset", "of_runs"), [ZEROSHOT, AJNE])
@pytest.mark.parametrize("count", [1, 4])
def test_every_released_model_has_a_line_a_marker_and_a_legend_entry_of_its_own(
    name: str, protocol: str, dataset: str, of_runs: Callable, count: int, runs, tmp_path: Path
) -> None:
    models = MODELS[-count:]
    baselines = [baseline(tmp_path, model, protocol, dataset, 0.4) for model in models]
    _, figure = draw(name, Inputs(results=of_runs(runs), baselines=baselines))
    check_layout(figure)
    entries = [entry for entry in legend_of(figure) if entry.startswith("released: ")]
    assert len(entries) == len(set(entries)) == count
    lines = [line for line in figure.axes[0].lines if line.get_gid() == RELEASED]
    assert [line.get_ydata()[0] for line in lines] == pytest.approx([40] * count)
    # Distinguishable where values are equal: by color, marker and position.
    assert len({(line.get_color(), line.get_marker()) for line in lines}) == count
    assert len({line.get_xdata()[1] for line in lines}) == count
    assert not {to_rgb(line.get_color()) for line in lines} & set(PALETTE.values())


def structure_baselines(folder: Path, models: tuple[PaperColumn, ...]) -> list[Baseline]:
    return [baseline(folder, model, "embedding_structure", "cc3m_validation", 0.4) for model in models]


def test_spectrum_of_a_released_model_is_a_dashed_line_with_its_marker(runs, tmp_path: Path) -> None:
    baselines = structure_baselines(tmp_path, (*MODELS, RN101))
    data, figure = draw("spectra", Inputs(results=runs.structure, baselines=baselines))
    check_layout(figure)
    for axis in figure.axes:
        lines = [line for line in axis.lines if line.get_gid() == RELEASED]
        spectra, markers = lines[::2], lines[1::2]
        assert len(spectra) == len(MODELS)
        for line, marker in zip(spectra, markers, strict=True):
            assert line.is_dashed() and line.get_xdata().tolist() == list(range(1, 257))
            assert line.get_ydata() == pytest.approx(np.full(256, 1 / 256))
            assert marker.get_xdata() == [254]  # 254 / 256 > 0.99
            assert line.get_color() == marker.get_color()
        assert len({line.get_color() for line in spectra}) == len(MODELS)
    assert sum(entry.startswith("released: ") for entry in legend_of(figure)) == len(MODELS)
    fractions = split_baselines(data)[1].groupby([RELEASED, "tower"]).value.sum()
    assert fractions.to_numpy() == pytest.approx(1)


@pytest.mark.parametrize("count", [1, 4])
def test_similarities_of_a_released_model_have_a_panel_of_their_own(runs, tmp_path: Path, count: int) -> None:
    """Up to six panels; models of other architectures have none."""
    baselines = structure_baselines(tmp_path, (RN101, *MODELS[-count:]))
    _, figure = draw("similarities", Inputs(results=runs.structure, baselines=baselines))
    check_layout(figure)
    assert len(figure.axes) == 2 + count
    titles = [axis.get_title(loc="left").replace("\n", " ") for axis in figure.axes]
    assert titles[:2] == ["CLIP", "CLOOB"]
    assert all(title.startswith("released: ") and "RN101" not in title for title in titles[2:])
    for axis in figure.axes[2:]:
        filled, line = axis.patches
        for patch, low, density in ((filled, 0.6, 50), (line, 0.0, 50)):
            values, edges, _ = patch.get_data()
            [bin_] = np.flatnonzero(values)
            assert edges[bin_] == pytest.approx(low) and values[bin_] == pytest.approx(density)
        assert axis.get_xlim()[0] <= 0 and axis.get_xlim()[1] >= 0.62


def test_each_architecture_has_panels_of_its_own_released_models(runs, tmp_path: Path) -> None:
    """Four models of RN50 leave no room for a fifth, but the row of RN101 has its own."""
    folder = tmp_path / "rn101"
    other = write_synthetic_results(
        folder, ("cc3m",), ("clip", "cloob"), (1,), (31,), (31,), architecture="RN101"
    )
    (tmp_path / "models").mkdir()
    baselines = structure_baselines(tmp_path / "models", (*MODELS, RN101))
    _, figure = draw("similarities", Inputs(results=[*runs.structure, *other.structure], baselines=baselines))
    check_layout(figure)
    titles = [axis.get_title(loc="left").replace("\n", " ") for axis in figure.axes if axis.axison]
    assert len(titles) == 6 + 3
    assert titles[8] == "released: CLIP (open_clip), RN101, YFCC15M"
    assert not any("RN101" in title for title in titles[:6])


def test_more_released_models_than_six_panels_are_left_out_of_the_similarities(tmp_path: Path) -> None:
    folder = tmp_path / "runs"
    four = write_synthetic_results(folder, seeds=(1,), epochs=(31,), eval_epochs=(31,))
    (tmp_path / "models").mkdir()
    baselines = structure_baselines(tmp_path / "models", MODELS)
    _, figure = draw("similarities", Inputs(results=four.structure, baselines=baselines))
    check_layout(figure)
    titles = [axis.get_title(loc="left") for axis in figure.axes]
    assert [title.startswith("released:") for title in titles] == [False] * 4 + [True] * 2


def test_without_baselines_data_and_figure_are_as_before(runs: SyntheticResults) -> None:
    data, figure = draw("zeroshot", Inputs(results=runs.zeroshot))
    assert RELEASED not in data
    assert not any(line.get_gid() == RELEASED for line in figure.axes[0].lines)
    assert legend_of(figure) == ["CLIP", "CLOOB", "one seed", "chance"]


def test_rows_of_released_models_are_not_those_of_runs(runs: SyntheticResults, tmp_path: Path) -> None:
    without, figure = draw("zeroshot", Inputs(results=runs.zeroshot))
    baselines = [baseline(tmp_path, MODELS[0], "zeroshot", "gtsrb", 0.4)]
    data, with_baseline = draw("zeroshot", Inputs(results=runs.zeroshot, baselines=baselines))
    pd.testing.assert_frame_equal(split_baselines(data)[0], without)
    [row] = split_baselines(data)[1].to_dict("records")
    assert row[RELEASED] == "CLOOB, RN50, YFCC15M, epoch 28"
    assert (row["architecture"], row["dataset"], row["value"]) == ("RN50", "gtsrb", 0.4)
    assert pd.isna([row[key] for key in ("corpus", "objective", "recipe", "seed", "epoch")]).all()
    heights = [[bar.get_height() for bar in drawn.axes[0].patches] for drawn in (figure, with_baseline)]
    assert heights[0] == heights[1]


def test_models_of_other_architectures_and_test_sets_are_not_drawn(
    runs: SyntheticResults, tmp_path: Path
) -> None:
    baselines = [
        baseline(tmp_path, RN101, "zeroshot", "gtsrb", 0.4),
        baseline(tmp_path, MODELS[0], "zeroshot", "other", 0.4),
    ]
    _, figure = draw("zeroshot", Inputs(results=runs.zeroshot, baselines=baselines[:1]))
    assert not any(entry.startswith("released") for entry in legend_of(figure))
    _, figure = draw("zeroshot", Inputs(results=runs.zeroshot, baselines=baselines))
    assert not any(line.get_gid() == RELEASED for line in figure.axes[0].lines)


def test_wrong_results_of_released_models_are_errors(runs: SyntheticResults, tmp_path: Path) -> None:
    first = baseline(tmp_path, MODELS[0], "zeroshot", "gtsrb", 0.4)
    again = baseline(tmp_path, MODELS[0], "zeroshot", "gtsrb", 0.5)
    other = Baseline(PaperColumn("YFCC15M", "RN50", "CLOOB", 27), "", first.path)
    with pytest.raises(InputError, match=r"1\.json: same released model and dataset as .*0\.json"):
        draw("zeroshot", Inputs(results=runs.zeroshot, baselines=[first, again]))
    with pytest.raises(InputError, match="of RN50 at epoch 28, not of RN50 at epoch 27"):
        draw("zeroshot", Inputs(results=runs.zeroshot, baselines=[other]))


def test_baselines_are_given_on_the_command_line(
    report: Callable[..., int], runs: SyntheticResults, tmp_path: Path
) -> None:
    path = baseline(tmp_path, MODELS[1], "zeroshot", "gtsrb", 0.4).path
    model = "YFCC15M/RN50/CLIP (open_clip)/final"
    png = tmp_path / "zeroshot.png"
    files = ["--results", *runs.zeroshot, "--baselines", f"{model}/yfcc15m={path}"]
    assert report("figure", "zeroshot", *files, "--png", png) == 0
    data = pd.read_csv(png.with_suffix(".csv"), keep_default_na=False)
    assert data[RELEASED].value_counts().to_dict() == {"": 20, "CLIP (open_clip), RN50, YFCC15M": 1}
    inputs = json.loads(png.with_suffix(".sources.json").read_text())["inputs"]
    assert path.name in [entry["path"] for entry in inputs]
    assert report("figure", "zeroshot", "--results", *runs.zeroshot, f"--baselines={path}", "--png", png) == 2
