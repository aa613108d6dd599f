"""The figures: drawn values, titles, layout without overlaps, reproducible bytes, no import of torch."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from cloob.common.errors import InputError
from cloob.report import registry
from cloob.report.figures.training_curves import MAX_POINTS
from cloob.report.load.inputs import Inputs
from cloob.report.load.result_files import RUN_KEYS
from cloob.report.names import OBJECTIVE_TITLES, Labels
from cloob.report.render.panels import panels
from cloob.report.render.style import MARKERS, ONE_COLUMN, PALETTE, TWO_COLUMNS, figure_style
from cloob.report.stats.intervals import PERCENT, estimate
from tests.helpers.figure_layout import check_layout, texts
from tests.helpers.repository import ROOT
from tests.helpers.synthetic_results import DATASETS, SyntheticResults, write_synthetic_results
from tests.report.conftest import TITLE_SUFFIX, TITLES

# The figure of corpora is tested with the table of corpora.
FIGURES = {
    name: import_module(f"cloob.report.figures.{name}") for name in registry.figures() if name != "corpus"
}
LABELS = Labels(TITLE_SUFFIX, {"cc3m": "Conceptual Captions", "yfcc15m": "YFCC"})
WORKFLOW = [ROOT / "workflow" / "Snakefile", *sorted((ROOT / "workflow" / "rules").glob("*.smk"))]
PAPER = ROOT / "config" / "paper_results.csv"


@pytest.fixture(scope="module")
def paper(tmp_path_factory: pytest.TempPathFactory) -> SyntheticResults:
    """Four objectives and three seeds of the paper's architecture at the paper's epochs."""
    return write_synthetic_results(tmp_path_factory.mktemp("paper"), seeds=(1, 2, 3), epochs=(1, 31, 128))


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> SyntheticResults:
    """Two corpora, two objectives and one seed of another architecture."""
    return write_synthetic_results(
        tmp_path_factory.mktemp("small"),
        corpora=("cc3m", "yfcc15m"),
        objectives=("clip", "cloob"),
        seeds=(1,),
        epochs=(1, 4),
        eval_epochs=(4,),
        architecture="RN_small",
    )


@pytest.fixture(scope="module")
def default_config(tmp_path_factory: pytest.TempPathFactory) -> SyntheticResults:
    """The kinds of runs of config/config.yaml with fewer seeds."""
    folder, objectives = tmp_path_factory.mktemp("default"), ("clip", "cloob")
    results = write_synthetic_results(folder, objectives=objectives, seeds=(1, 2), epochs=(1, 31, 128))
    for architecture in ("RN50", "RN101", "RN50x4"):
        more = write_synthetic_results(
            *(folder, ("yfcc15m",), objectives),
            seeds=(1,),
            epochs=(1, 28),
            eval_epochs=(28,),
            architecture=architecture,
        )
        results.zeroshot += more.zeroshot
        results.structure += more.structure
        results.logs += more.logs
    return results


def inputs_of(name: str, results: SyntheticResults) -> Inputs:
    """The inputs that the workflow gives a figure."""
    if name == "pipeline":
        return Inputs(sources=WORKFLOW)
    if name == "outcomes":
        return Inputs(summaries=results.summaries)
    if name == "predictions":
        return Inputs(results=results.predictions[: len(DATASETS)])
    if name in ("ajne", "effective_eigenvalues"):
        return Inputs(results=results.structure, paper=PAPER)
    if name == "zeroshot":
        return Inputs(results=results.zeroshot)
    return Inputs(results=results.logs if "logs" in registry.figures()[name].inputs else results.structure)


def flags(name: str, results: SyntheticResults) -> list[str]:
    """The same inputs on the command line."""
    inputs = inputs_of(name, results)
    files = {"results": inputs.results, "summaries": inputs.summaries, "sources": inputs.sources}
    values = [f"--{flag}={path}" for flag, paths in files.items() for path in paths]
    return [*values, *([f"--paper={inputs.paper}"] if inputs.paper else [])]


def read(name: str, paths: list[Path]) -> pd.DataFrame:
    """The data of a figure of result files or logs."""
    return FIGURES[name].read(Inputs(results=paths))


def draw(name: str, inputs: Inputs) -> tuple[pd.DataFrame, Figure]:
    """The data and the figure, laid out."""
    data = FIGURES[name].read(inputs)
    with figure_style():
        figure = FIGURES[name].draw(data, LABELS)
        FigureCanvasAgg(figure).draw()
    return data, figure


def bars(axis: Axes, objective: str) -> list[float]:
    return [bar.get_height() for bar in axis.patches if to_rgb(bar.get_facecolor()) == PALETTE[objective]]


def marked(axis: Axes, kind: str) -> list[float]:
    return [float(line.get_ydata()[0]) for line in axis.lines if line.get_gid() == kind]


def test_every_objective_has_its_own_color_and_marker() -> None:
    assert set(PALETTE) == set(MARKERS) == set(OBJECTIVE_TITLES)
    assert len(set(PALETTE.values())) == len(set(MARKERS.values())) == len(OBJECTIVE_TITLES)


@pytest.mark.parametrize("results", ["paper", "small", "default_config"])
@pytest.mark.parametrize("name", sorted(FIGURES))
def test_figure_fits_the_page_has_its_suffix_and_nothing_overlaps(
    name: str, results: str, request: pytest.FixtureRequest
) -> None:
    _, figure = draw(name, inputs_of(name, request.getfixturevalue(results)))
    assert LABELS.title_suffix in figure.get_suptitle()
    assert figure.get_figwidth() in (ONE_COLUMN, TWO_COLUMNS)
    assert figure.get_figheight() < 9.7
    check_layout(figure)


def test_panels_are_in_the_order_of_the_paper() -> None:
    runs = [("yfcc15m", "RN101"), ("yfcc15m", "RN50x4"), ("yfcc15m", "RN50"), ("cc3m", "RN50")]
    data = pd.DataFrame(runs, columns=["corpus", "architecture"]).assign(recipe="default")
    names = [name for name, _ in panels(data, LABELS)]
    assert names == ["Conceptual Captions · RN50", "YFCC · RN50", "YFCC · RN101", "YFCC · RN50x4"]


def test_long_title_suffix_fits_a_narrow_figure(small: SyntheticResults) -> None:
    data = read("saturation", small.logs[:2])
    with figure_style():
        figure = FIGURES["saturation"].draw(
            data, Labels("toy dataset, which shows that the pipeline works and nothing else")
        )
        FigureCanvasAgg(figure).draw()
    box = figure._suptitle.get_window_extent()
    assert figure.get_figwidth() == ONE_COLUMN
    assert figure.bbox.contains(*box.min) and figure.bbox.contains(*box.max)


def test_legend_has_intervals_only_if_they_are_drawn(
    small: SyntheticResults, paper: SyntheticResults
) -> None:
    def legend(name: str, paths: list[Path], paper: Path | None = None) -> set[str]:
        _, figure = draw(name, Inputs(results=paths, paper=paper))
        return {text.get_text() for text in figure.legends[0].get_texts()}

    assert "95% confidence interval" not in legend("ajne", small.structure)
    assert "95% confidence interval" not in legend("zeroshot", small.zeroshot)
    assert "95% confidence interval" in legend("ajne", paper.structure)
    two_seeds = [path for path in paper.structure if "seed3" not in str(path)]
    assert {"range of two seeds", "one seed"} <= legend("ajne", two_seeds)
    assert "95% confidence interval" not in legend("ajne", two_seeds)
    # The paper's values do not count as a seed.
    assert legend("ajne", two_seeds, PAPER) == {*legend("ajne", two_seeds), "published"}
    one_seed = [path for path in two_seeds if "seed2" not in str(path)]
    assert legend("ajne", one_seed, PAPER) == {*legend("ajne", one_seed), "published"}


def test_zeroshot_bars_are_means_whiskers_t_intervals_and_dots_seeds(paper: SyntheticResults) -> None:
    data, figure = draw("zeroshot", Inputs(results=paper.zeroshot))
    first, _ = figure.axes
    assert [axis.get_title(loc="left") for axis in figure.axes] == [
        "Conceptual Captions · RN50 · epoch 31",
        "Conceptual Captions · RN50 · epoch 128",
    ]
    assert [text.get_text() for text in first.get_xticklabels()][:2] == ["Birdsnap", "Country211"]
    values = data[(data.epoch == 31) & (data.dataset == "birdsnap") & (data.objective == "infoloob")].value
    expected = estimate(100 * values, PERCENT)
    assert bars(first, "infoloob")[0] == pytest.approx(expected.mean)
    whiskers = [tuple(line.get_ydata()) for line in first.lines if len(line.get_ydata()) == 2]
    assert any(whisker == pytest.approx((expected.low, expected.high)) for whisker in whiskers)
    assert sorted(marked(first, "seed")) == pytest.approx(sorted(100 * data[data.epoch == 31].value))
    chance = [
        lines.get_segments()[0][0][1] for lines in first.collections if isinstance(lines, LineCollection)
    ]
    assert chance == pytest.approx([5] * len(DATASETS))
    assert first.get_ylim()[0] == 0


def whiskers_of(axis: Axes, gid: str | None = None) -> set[tuple[float, float]]:
    """The ends of all vertical lines of an axis with this `gid`."""
    lines = [line for line in axis.lines if len(set(line.get_xdata())) == 1 < len(line.get_ydata())]
    return {tuple(np.round(line.get_ydata(), 6)) for line in lines if gid is None or line.get_gid() == gid}


def test_two_seeds_have_their_range_instead_of_an_interval(paper: SyntheticResults) -> None:
    paths = [path for path in paper.zeroshot if "seed3" not in str(path)]
    data, figure = draw("zeroshot", Inputs(results=paths))
    seeds = 100 * data[data.epoch == 31].groupby(["objective", "dataset"]).value.agg(["min", "max"]).round(8)
    assert whiskers_of(figure.axes[0]) == whiskers_of(figure.axes[0], "range")
    assert whiskers_of(figure.axes[0]) == {tuple(pair) for pair in seeds.round(6).to_numpy()}


def test_single_seed_has_an_interval_only_if_other_runs_show_the_deviation_between_seeds(
    small: SyntheticResults, paper: SyntheticResults
) -> None:
    _, figure = draw("zeroshot", Inputs(results=small.zeroshot))
    assert not whiskers_of(figure.axes[0])
    data, figure = draw("zeroshot", Inputs(results=[*paper.zeroshot, *small.zeroshot]))
    row = data[data.architecture == "RN_small"].iloc[0]
    # Wider than that of the test images alone.
    assert row.low < row.value < row.image_high < row.high
    assert row.high - row.low > row.image_high - row.image_low
    ends = set().union(*(whiskers_of(axis) for axis in figure.axes))
    assert tuple(np.round([100 * row.low, 100 * row.high], 6)) in ends


def test_increase_of_eigenvalues_is_relative_to_the_first_epoch_and_compared_with_the_paper(
    paper: SyntheticResults,
) -> None:
    data, figure = draw("effective_eigenvalues", inputs_of("effective_eigenvalues", paper))
    counts = {}
    for path in paper.structure:
        content = json.loads(path.read_text())
        key = content["run"]["objective"], content["run"]["seed"], content["epoch"]
        counts[key] = content["metrics"]["effective_eigenvalues_image"]
    expected = np.mean([counts["clip", seed, 31] / counts["clip", seed, 1] - 1 for seed in (1, 2, 3)])
    images, texts = figure.axes
    assert bars(images, "clip")[0] == pytest.approx(100 * expected)
    assert [text.get_text() for text in images.get_xticklabels()] == ["epoch 31", "epoch 128"]
    assert images.get_ylabel() == "increase since epoch 1 (%)"
    # The paper's values for the objectives in order, epochs 31 and 128.
    assert sorted(marked(images, "published")) == pytest.approx(
        sorted([3.6, 3.9, 1.7, 25.2, 7.3, 17.6, 3.5, 63.1])
    )
    assert len(marked(texts, "published")) == 8
    assert set(data.source) == {"measured", "published"}


@pytest.mark.parametrize("name", ["ajne", "effective_eigenvalues"])
def test_other_architectures_are_not_compared_with_the_paper(name: str, small: SyntheticResults) -> None:
    data, figure = draw(name, inputs_of(name, small))
    assert set(data.source) == {"measured"}
    assert all(not marked(axis, "published") for axis in figure.axes)
    assert "published" not in [text.get_text() for text in figure.legends[0].get_texts()]


def test_curve_of_eigenvalues_is_the_mean_over_seeds_and_starts_at_zero(paper: SyntheticResults) -> None:
    data, figure = draw("effective_eigenvalues_epochs", Inputs(results=paper.structure))
    lines = {to_rgb(line.get_color()): line for line in figure.axes[0].lines}
    line = lines[to_rgb(PALETTE["cloob"])]
    assert list(line.get_xdata()) == [1, 31, 128]
    rows = data[(data.objective == "cloob") & (data.tower == "image")]
    assert list(line.get_ydata()) == pytest.approx(list(100 * rows.groupby("epoch").value.mean()))
    assert line.get_ydata()[0] == 0


def test_spectrum_is_marked_at_99_percent_of_the_variance(paper: SyntheticResults) -> None:
    data, figure = draw("spectra", Inputs(results=paper.structure))
    markers = [line for line in figure.axes[0].lines if line.get_marker() == MARKERS["clip"]]
    last = data[(data.epoch == 128) & (data.tower == "image") & (data.objective == "clip")]
    expected = []
    for _, line in last.groupby("seed"):
        total, k = 0.0, 0
        while total < 0.99:
            total += line.value.iloc[k]
            k += 1
        expected.append(k)
    assert sorted(int(line.get_xdata()[0]) for line in markers) == sorted(expected)
    assert data.groupby([*RUN_KEYS, "epoch", "tower"]).value.sum().to_numpy() == pytest.approx(1)


def test_similarities_are_densities_over_all_seeds(paper: SyntheticResults) -> None:
    _, figure = draw("similarities", Inputs(results=paper.structure))
    assert [axis.get_title(loc="left") for axis in figure.axes] == list(OBJECTIVE_TITLES.values())
    for axis in figure.axes:
        steps = [patch for patch in axis.patches if hasattr(patch, "get_data")]
        assert len(steps) == 2
        for step in steps:
            values, edges, _ = step.get_data()
            assert float((values * np.diff(edges)).sum()) == pytest.approx(1)


def test_saturation_is_the_mean_over_seeds(paper: SyntheticResults) -> None:
    data, figure = draw("saturation", Inputs(results=paper.logs))
    [axis] = figure.axes
    assert len(axis.lines) == 4
    clip = next(line for line in axis.lines if to_rgb(line.get_color()) == to_rgb(PALETTE["clip"]))
    means = data[data.objective == "clip"].groupby("epoch").value.mean()
    assert list(clip.get_ydata()) == pytest.approx(list(means))
    assert len(means) == 128


def test_log_without_saturation_is_an_error(tmp_path: Path, small: SyntheticResults) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text(small.logs[0].read_text().replace('"saturation"', '"other"'))
    with pytest.raises(InputError, match="no saturation; train the run again"):
        read("saturation", [path])


def test_throughput_is_per_process_if_their_number_changes(tmp_path: Path, small: SyntheticResults) -> None:
    first, *_ = small.logs[0].read_text().splitlines()
    step = {"event": "step", "data_seconds": 0.1, "batch_seconds": 1.0}
    events = [json.loads(first) | {"processes": 4}, step | {"samples_per_second": 400}]
    events += [{"event": "start", "processes": 2}, step | {"samples_per_second": 240}]
    path = tmp_path / "metrics.jsonl"
    path.write_text("".join(json.dumps(event) + "\n" for event in events))
    data = read("throughput", [path]).set_index("quantity").value
    assert data["pairs_per_second"] == pytest.approx((400 / 4 + 240 / 2) / 2)
    assert data["waiting"] == pytest.approx(0.1)


def test_outcomes_sum_to_the_url_list(small: SyntheticResults) -> None:
    data, figure = draw("outcomes", inputs_of("outcomes", small))
    assert data.groupby(["corpus", "split"]).share.sum().to_numpy() == pytest.approx(1)
    axis = figure.axes[0]
    assert axis.get_title(loc="left") == "Conceptual Captions, train: 4,000 rows in the URL list"
    names = [text.get_text() for text in axis.get_yticklabels()]
    assert names[:3] == ["kept", "http 404", "dns"]
    assert names[8] in ("duplicate url", "http 500")
    widths = [bar.get_width() for bar in axis.patches]
    assert widths[0] == pytest.approx(100 * 3301 / 4000)
    assert widths[1:] == sorted(widths[1:], reverse=True)


def test_rarest_outcomes_share_a_bar(tmp_path: Path) -> None:
    path = tmp_path / "cc3m" / "summary.csv"
    path.parent.mkdir()
    rows = [f"train,fetch,reason_{rank},,{rank}" for rank in range(1, 21)]
    path.write_text("\n".join(["split,stage,outcome,http_status,rows", "train,list,kept,,210", *rows]) + "\n")
    _, figure = draw("outcomes", Inputs(summaries=[path]))
    names = [text.get_text() for text in figure.axes[0].get_yticklabels()]
    assert names[-1] == "8 rarer outcomes"
    assert figure.axes[0].patches[-1].get_width() == pytest.approx(100 * sum(range(1, 9)) / 210)


def test_predictions_highlight_the_correct_class(small: SyntheticResults) -> None:
    data, figure = draw("predictions", Inputs(results=small.predictions[:8]))
    titles = [axis.get_title().split("\n") for axis in figure.axes if axis.images]
    assert titles[:3] == [
        ["Birdsnap", "a painted bunting"],
        ["Birdsnap", "a barn owl"],  # the first and the last of three
        ["Country211", "Portugal"],
    ]
    colors = [to_rgb(bar.get_facecolor()) for axis in figure.axes for bar in axis.patches]
    correct = (data["class"] == data.guess).sum()
    assert correct > 0
    assert len(colors) == len(data)
    assert len(colors) - colors.count((0.72, 0.72, 0.72)) == correct


def test_predictions_of_two_runs_are_an_error(small: SyntheticResults) -> None:
    with pytest.raises(InputError, match="2 runs or epochs"):
        read("predictions", small.predictions)


def test_sample_that_is_not_an_image_is_an_error(tmp_path: Path, small: SyntheticResults) -> None:
    content = json.loads(small.predictions[0].read_text())
    content["samples"][0]["image_jpeg"] = "bm90IGFuIGltYWdl"
    path = tmp_path / "birdsnap.json"
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match="a sample of birdsnap is not an image"):
        draw("predictions", Inputs(results=[path]))


def test_pipeline_shows_all_stages_and_rules_of_the_workflow() -> None:
    data, figure = draw("pipeline", Inputs(sources=WORKFLOW))
    assert list(dict.fromkeys(data.stage)) == ["download", "shards", "train", "tune", "evaluate", "report"]
    labels = "\n".join(text.get_text() for text in figure.axes[0].texts)
    for path in WORKFLOW:
        if path.stem in set(data.stage):
            for line in path.read_text().splitlines():
                if line.startswith("rule "):
                    assert line.removeprefix("rule ").rstrip(":") in labels.split()
    assert "verified webdataset shards with an index" in labels


def test_losses_have_a_panel_per_objective_and_recalls_share_one(small: SyntheticResults) -> None:
    data, figure = draw("training_curves", Inputs(results=small.logs))
    clip_cc, _, cloob_cc, _, recall_cc, _ = figure.axes[:6]
    assert [clip_cc.get_ylabel(), cloob_cc.get_ylabel()] == ["CLIP\nloss", "CLOOB\nloss"]
    assert {to_rgb(line.get_color()) for line in cloob_cc.lines} == {to_rgb(PALETTE["cloob"])}
    assert len(recall_cc.lines) == 4  # two objectives, two directions
    [inset] = clip_cc.child_axes
    rates = data[(data.quantity == "learning_rate") & (data.corpus == "cc3m") & (data.objective == "clip")]
    assert list(inset.lines[0].get_ydata()) == pytest.approx(list(rates.value))


def test_every_objective_has_its_learning_rate_in_an_inset(small: SyntheticResults) -> None:
    data = read("training_curves", small.logs)
    rates = data[data.quantity == "learning_rate"]
    data.loc[rates[rates.objective == "cloob"].index, "value"] *= 4
    with figure_style():
        figure = FIGURES["training_curves"].draw(data, LABELS)
    assert [len(axis.child_axes) for axis in figure.axes] == [1, 1, 1, 1, 0, 0]
    peaks = [max(axis.child_axes[0].lines[0].get_ydata()) for axis in figure.axes[:4]]
    peak = rates[rates.corpus == "cc3m"].value.max()
    assert peaks == pytest.approx([peak, peak, 4 * peak, 4 * peak])


def test_the_learning_rate_hides_no_loss(small: SyntheticResults) -> None:
    data = read("training_curves", small.logs)
    late = (data.quantity == "loss") & (data.objective == "cloob")
    data.loc[late, "value"] = 1 - (data.epoch[late] / data.epoch[late].max()) ** 8
    with figure_style():
        figure = FIGURES["training_curves"].draw(data, LABELS)
    figure.draw_without_rendering()
    for axis in figure.axes[:4]:
        inset = axis.child_axes[0].get_window_extent()
        points = np.concatenate([axis.transData.transform(line.get_xydata()) for line in axis.lines])
        assert not any(inset.contains(*point) for point in points)


@pytest.mark.parametrize("epochs", [1, 37, 250])
def test_losses_are_averaged_in_bins(tmp_path: Path, epochs: int) -> None:
    results = write_synthetic_results(
        tmp_path, objectives=("clip",), seeds=(1,), epochs=(epochs,), eval_epochs=()
    )
    points = read("training_curves", results.logs)
    losses = points[points.quantity == "loss"]
    events = [json.loads(line) for line in results.logs[0].read_text().splitlines()]
    steps = [event["loss"] for event in events if event["event"] == "step"]
    assert len(losses) == min(len(steps), MAX_POINTS)
    assert losses.epoch.is_monotonic_increasing
    if len(steps) <= MAX_POINTS:
        assert list(losses.value) == pytest.approx(steps)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not JSON"),
        ('{"event": "end"}\n', "not a log of"),
        ('{"event": "start", "run": {"objective": "siglip"}}\n', "unknown objective 'siglip'"),
    ],
)
def test_damaged_log_is_an_error(
    report: Callable, tmp_path: Path, capsys: pytest.CaptureFixture, text: str, message: str
) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text(text)
    assert report("figure", "training_curves", "--results", path, "--png", tmp_path / "f.png") == 2
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == [path]


def test_result_of_another_protocol_is_an_error(small: SyntheticResults) -> None:
    with pytest.raises(InputError, match="protocol is zeroshot, not embedding_structure"):
        read("spectra", small.zeroshot)


def test_duplicate_result_is_an_error(small: SyntheticResults, tmp_path: Path) -> None:
    copy = tmp_path / "copy.json"
    copy.write_bytes(small.structure[0].read_bytes())
    with pytest.raises(InputError, match="give it once"):
        read("ajne", [*small.structure, copy])


@pytest.mark.timeout(300)
def test_same_numbers_give_the_same_bytes_in_another_process_without_torch(
    report: Callable, tmp_path: Path, small: SyntheticResults
) -> None:
    """The other process has another hash seed, and must not import packages of other environments."""

    def commands(folder: Path) -> list[list[str]]:
        return [["figure", name, *flags(name, small), "--png", f"{folder}/{name}.png"] for name in FIGURES]

    script = f"""
import sys
from cloob.cli import main
for arguments in {commands(tmp_path / "second")!r}:
    try:
        main(["report", *arguments, "--title-suffix", {TITLE_SUFFIX!r}, *{TITLES!r}])
    except SystemExit as exit_info:
        assert exit_info.code == 0, exit_info.code
unexpected = {{"torch", "open_clip", "torchvision", "cloob.train", "cloob.evaluate"}} & set(sys.modules)
assert not unexpected, unexpected
"""
    for arguments in commands(tmp_path / "first"):
        assert report(*arguments) == 0
    command = [sys.executable, "-W", "error", "-c", script]
    subprocess.run(command, check=True, env=os.environ | {"PYTHONHASHSEED": "1"})

    ends = ("csv", "pdf", "png", "sources.json", "svg")
    names = sorted(f"{stem}.{end}" for stem in FIGURES for end in ends)
    assert sorted(path.name for path in (tmp_path / "first").iterdir()) == names
    for name in names:
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes(), name
    for stem in FIGURES:
        pdf = (tmp_path / "first" / f"{stem}.pdf").read_bytes()
        assert b"/FontFile2" in pdf  # TrueType, embedded
        assert b"CreationDate" not in pdf
        svg = (tmp_path / "first" / f"{stem}.svg").read_text()
        assert "<text" not in svg  # letters are outlines: no font is asked for
        assert "dc:date" not in svg


def test_bar_of_height_zero_is_visible_and_a_missing_one_is_not(small: SyntheticResults) -> None:
    data = FIGURES["zeroshot"].read(Inputs(results=small.zeroshot))
    data = data[data.corpus == "cc3m"].assign(low=np.nan, high=np.nan)
    data.loc[(data.dataset == "birdsnap") & (data.objective == "clip"), "value"] = 0.0
    data = data[(data.dataset != "gtsrb") | (data.objective != "cloob")]
    with figure_style():
        figure = FIGURES["zeroshot"].draw(data, LABELS)
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
    [axis] = figure.axes
    caps = [line for line in axis.lines if line.get_gid() == "mean"]
    assert len(caps) == 2 * len(DATASETS) - 1
    [zero] = [line for line in caps if line.get_ydata()[0] == 0]
    zero_line = next(line for line in axis.lines if list(line.get_ydata()) == [0, 0] and line is not zero)
    assert zero.get_zorder() > zero_line.get_zorder()
    x, y = axis.transData.transform((zero.get_xdata()[1], 0))
    image = np.asarray(canvas.buffer_rgba())[..., :3] / 255
    around = image[len(image) - round(y) - 3 : len(image) - round(y) + 3, round(x) - 3]
    assert np.abs(around - PALETTE["clip"]).max(axis=1).min() < 0.15


@pytest.mark.parametrize("name", ["zeroshot", "ajne", "effective_eigenvalues", "throughput"])
def test_whiskers_end_within_the_axes(name: str, paper: SyntheticResults) -> None:
    """Also of values close to 0 and 100%, and of values whose interval is larger than their mean."""
    data = FIGURES[name].read(inputs_of(name, paper))
    spread = data.seed.map({1: 0.01, 2: 1.0, 3: 1.99}) if "seed" in data else 1
    for values in (data.value * spread, 1 - 0.01 * spread if name == "zeroshot" else data.value * spread**3):
        with figure_style():
            figure = FIGURES[name].draw(data.assign(value=values), LABELS)
        for axis in figure.axes:
            low, high = axis.get_ylim()
            ends = [end for whisker in whiskers_of(axis) for end in whisker]
            assert ends
            assert low < min(ends)
            assert max(ends) < high


def test_bands_of_the_saturation_end_within_the_axes(paper: SyntheticResults) -> None:
    data = FIGURES["saturation"].read(Inputs(results=paper.logs))
    with figure_style():
        figure = FIGURES["saturation"].draw(data.assign(value=0.9 - 0.4 * (data.seed == 1)), LABELS)
    [axis] = figure.axes
    tops = [path.vertices[:, 1].max() for band in axis.collections for path in band.get_paths()]
    assert max(tops) > 0.9
    assert max(tops) < axis.get_ylim()[1]


def test_ranges_of_two_seeds_do_not_cover_a_line_with_many_epochs(paper: SyntheticResults) -> None:
    logs = [path for path in paper.logs if "seed3" not in str(path)]
    _, figure = draw("saturation", Inputs(results=logs))
    ranges = [line for line in figure.axes[0].lines if line.get_gid() == "range"]
    assert 0 < len(ranges) <= 14 * len(OBJECTIVE_TITLES)


@pytest.mark.parametrize("count", [1, 4, 8, 10])
def test_long_names_of_test_sets_do_not_overlap(count: int, small: SyntheticResults) -> None:
    data = FIGURES["zeroshot"].read(Inputs(results=small.zeroshot))
    names = ["a_long_name_of_a_test_set_without_end", "Unbrokennameofatestset", "two words", "x-y"] * 3
    renamed = {name: f"{names[index]}{index}" for index, name in enumerate(list(DATASETS)[:count])}
    data = data[data.dataset.isin(renamed)].replace({"dataset": renamed})
    with figure_style():
        figure = FIGURES["zeroshot"].draw(data, LABELS)
        FigureCanvasAgg(figure).draw()
    for axis in figure.axes:
        boxes = [tick.label1.get_window_extent() for tick in axis.xaxis.get_major_ticks()]
        assert not any(box.padded(-1).overlaps(other.padded(-1)) for box, other in combinations(boxes, 2))
    page = figure.bbox.padded(1)
    assert all(page.contains(*box.min) and page.contains(*box.max) for _, box in texts(figure))
