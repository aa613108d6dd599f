"""The figures: the right numbers in the right places, marked, apart, the same bytes, and no torch."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
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
from cloob.report.figures.inputs import RUN, panels
from cloob.report.figures.training_curves import POINTS
from cloob.report.figures_cli import FIGURES as NAMES
from cloob.report.names import OBJECTIVES
from cloob.report.render.style import MARKERS, ONE_COLUMN, PALETTE, TWO_COLUMNS, styled
from cloob.report.stats.intervals import t_interval
from tests.helpers.repository import ROOT
from tests.helpers.synthetic_results import DATASETS, Written, write_world

FIGURES = {name: import_module(f"cloob.report.figures.{name}") for name in NAMES}
MARK = "The small world: not the paper's figures"
WORKFLOW = [ROOT / "workflow" / "Snakefile", *sorted((ROOT / "workflow" / "rules").glob("*.smk"))]
PAPER = ROOT / "config" / "paper_results.csv"


@pytest.fixture(scope="module")
def paper(tmp_path_factory: pytest.TempPathFactory) -> Written:
    """Four objectives and three seeds of the paper's encoder at the paper's epochs."""
    return write_world(tmp_path_factory.mktemp("paper"), seeds=(1, 2, 3), epochs=(1, 31, 128))


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Written:
    """Two corpora, two objectives, one seed of another encoder."""
    return write_world(
        tmp_path_factory.mktemp("small"),
        corpora=("cc3m", "yfcc15m"),
        objectives=("clip", "cloob"),
        seeds=(1,),
        epochs=(1, 4),
        eval_epochs=(4,),
        architecture="RN_small",
    )


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Written:
    """The grid of config/config.yaml, of two seeds: four kinds of runs side by side."""
    folder, two = tmp_path_factory.mktemp("whole"), ("clip", "cloob")
    found = write_world(folder, objectives=two, seeds=(1, 2), epochs=(1, 31, 128))
    for architecture in ("RN50", "RN101", "RN50x4"):
        more = write_world(
            *(folder, ("yfcc15m",), two),
            seeds=(1,),
            epochs=(1, 28),
            eval_epochs=(28,),
            architecture=architecture,
        )
        found.zeroshot += more.zeroshot
        found.structure += more.structure
        found.logs += more.logs
    return found


def inputs_of(name: str, world: Written) -> list[Path]:
    """What the rule of a figure would give it."""
    if name == "pipeline":
        return WORKFLOW
    if name == "predictions":
        return world.predictions[: len(DATASETS)]
    if name in ("ajne", "effective_eigenvalues"):
        return [*world.structure, PAPER]
    made_of = {"zeroshot": world.zeroshot, "outcomes": world.outcomes}
    made_of |= dict.fromkeys(("saturation", "throughput", "training_curves"), world.logs)
    return made_of.get(name, world.structure)


def drawn(name: str, inputs: list[Path]) -> tuple[pd.DataFrame, Figure]:
    data = FIGURES[name].read(inputs)
    with styled():
        figure = FIGURES[name].draw(data, MARK)
        FigureCanvasAgg(figure).draw()
    return data, figure


def bars(axis: Axes, objective: str) -> list[float]:
    return [bar.get_height() for bar in axis.patches if to_rgb(bar.get_facecolor()) == PALETTE[objective]]


def marked(axis: Axes, kind: str) -> list[float]:
    return [float(line.get_ydata()[0]) for line in axis.lines if line.get_gid() == kind]


def test_every_figure_has_a_name_on_the_command_line_and_a_caption_of_one_sentence() -> None:
    for name in NAMES:
        caption = (ROOT / "workflow" / "report" / f"{name}.rst").read_text().strip()
        assert caption.endswith(".")
        assert "\n" not in caption


def test_no_two_objectives_share_a_colour_or_a_marker() -> None:
    assert set(PALETTE) == set(MARKERS) == set(OBJECTIVES)
    assert len(set(PALETTE.values())) == len(set(MARKERS.values())) == len(OBJECTIVES)


def texts(figure: Figure) -> Iterator[tuple[str, object]]:
    """Every title, label, tick label and legend of a figure, with where it stands."""
    yield figure.get_suptitle(), figure._suptitle.get_window_extent()
    for legend in figure.legends:
        yield "legend", legend.get_window_extent()
    for axis in figure.axes:
        found = [axis.title, axis._left_title, axis.xaxis.label, axis.yaxis.label]
        for part, (low, high) in ((axis.xaxis, axis.get_xlim()), (axis.yaxis, axis.get_ylim())):
            found += [
                advance.label1
                for advance in part.get_major_ticks()
                if min(low, high) <= advance.get_loc() <= max(low, high) and advance.label1.get_visible()
            ]
        for text in found:
            if axis.axison and text.get_visible() and text.get_text():
                yield text.get_text(), text.get_window_extent()


@pytest.mark.parametrize("world", ["paper", "small", "whole"])
@pytest.mark.parametrize("name", sorted(FIGURES))
def test_a_figure_fits_a_page_says_where_it_is_from_and_nothing_overlaps(
    name: str, world: str, request: pytest.FixtureRequest
) -> None:
    _, figure = drawn(name, inputs_of(name, request.getfixturevalue(world)))
    assert MARK in figure.get_suptitle()
    assert figure.get_figwidth() in (ONE_COLUMN, TWO_COLUMNS)
    assert figure.get_figheight() < 9.7
    page = figure.bbox.padded(1)
    boxes = list(texts(figure))
    assert [text for text, box in boxes if not (page.contains(*box.min) and page.contains(*box.max))] == []
    assert [
        (one, other)
        for (one, box), (other, beside) in combinations(boxes, 2)
        if box.padded(-1).overlaps(beside.padded(-1))
    ] == []


def test_panels_stand_in_the_order_of_the_paper() -> None:
    runs = [("yfcc15m", "RN101"), ("yfcc15m", "RN50x4"), ("yfcc15m", "RN50"), ("cc3m", "RN50")]
    data = pd.DataFrame(runs, columns=["corpus", "architecture"]).assign(recipe="one")
    names = [name for name, _ in panels(data)]
    assert names == ["Conceptual Captions · RN50", "YFCC · RN50", "YFCC · RN101", "YFCC · RN50x4"]


def test_a_long_mark_is_read_to_its_end_on_a_narrow_figure(small: Written) -> None:
    data = FIGURES["saturation"].read(small.logs[:2])
    with styled():
        figure = FIGURES["saturation"].draw(
            data, "small world, which shows that the pipeline works, not more"
        )
        FigureCanvasAgg(figure).draw()
    box = figure._suptitle.get_window_extent()
    assert figure.get_figwidth() == ONE_COLUMN
    assert figure.bbox.contains(*box.min) and figure.bbox.contains(*box.max)


def test_no_interval_is_promised_where_one_seed_has_none(small: Written, paper: Written) -> None:
    def legend(name: str, inputs: list[Path]) -> set[str]:
        return {text.get_text() for text in drawn(name, inputs)[1].legends[0].get_texts()}

    assert "95 % interval" not in legend("ajne", small.structure)
    assert "95 % interval" in legend("zeroshot", small.zeroshot)
    assert "95 % interval" in legend("ajne", paper.structure)


def test_zeroshot_bars_are_means_whiskers_t_intervals_and_dots_seeds(paper: Written) -> None:
    data, figure = drawn("zeroshot", paper.zeroshot)
    first, _ = figure.axes
    assert [axis.get_title(loc="left") for axis in figure.axes] == [
        "Conceptual Captions · RN50 · epoch 31",
        "Conceptual Captions · RN50 · epoch 128",
    ]
    assert [text.get_text() for text in first.get_xticklabels()][:2] == ["Birdsnap", "Country211"]
    values = data[(data.epoch == 31) & (data.dataset == "birdsnap") & (data.objective == "infoloob")].value
    mean, low, high = t_interval(100 * values)
    assert bars(first, "infoloob")[0] == pytest.approx(mean)
    whiskers = [tuple(line.get_ydata()) for line in first.lines if len(line.get_ydata()) == 2]
    assert any(each == pytest.approx((low, high)) for each in whiskers)
    assert sorted(marked(first, "seed")) == pytest.approx(sorted(100 * data[data.epoch == 31].value))
    chance = [each.get_segments()[0][0][1] for each in first.collections if isinstance(each, LineCollection)]
    assert chance == pytest.approx([5] * len(DATASETS))
    assert first.get_ylim()[0] == 0


def test_one_seed_has_the_interval_that_its_result_file_states(small: Written) -> None:
    data, figure = drawn("zeroshot", small.zeroshot)
    whiskers = {
        tuple(np.round(line.get_ydata(), 6)) for line in figure.axes[0].lines if len(line.get_ydata()) == 2
    }
    row = data[data.corpus == "cc3m"].iloc[0]
    assert tuple(np.round([100 * row.low, 100 * row.high], 6)) in whiskers


def test_eigenvalues_grow_from_the_first_epoch_and_stand_beside_the_papers(paper: Written) -> None:
    data, figure = drawn("effective_eigenvalues", [*paper.structure, PAPER])
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
    # Of the paper, objectives in order, epochs 31 and 128.
    assert sorted(marked(images, "released")) == pytest.approx(
        sorted([3.6, 3.9, 1.7, 25.2, 7.3, 17.6, 3.5, 63.1])
    )
    assert len(marked(texts, "released")) == 8
    assert set(data.source) == {"measured", "released"}


@pytest.mark.parametrize("name", ["ajne", "effective_eigenvalues"])
def test_nothing_of_the_paper_stands_beside_the_small_world(name: str, small: Written) -> None:
    data, figure = drawn(name, [*small.structure, PAPER])
    assert set(data.source) == {"measured"}
    assert all(not marked(axis, "released") for axis in figure.axes)
    assert "released" not in [text.get_text() for text in figure.legends[0].get_texts()]


def test_a_curve_of_eigenvalues_is_the_mean_over_seeds_and_begins_at_zero(paper: Written) -> None:
    data, figure = drawn("effective_eigenvalues_epochs", paper.structure)
    lines = {to_rgb(line.get_color()): line for line in figure.axes[0].lines}
    line = lines[to_rgb(PALETTE["cloob"])]
    assert list(line.get_xdata()) == [1, 31, 128]
    shown = data[(data.objective == "cloob") & (data.tower == "image")]
    assert list(line.get_ydata()) == pytest.approx(list(100 * shown.groupby("epoch").value.mean()))
    assert line.get_ydata()[0] == 0


def test_a_spectrum_is_marked_where_99_percent_of_the_variance_is_reached(paper: Written) -> None:
    data, figure = drawn("spectra", paper.structure)
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
    assert data.groupby([*RUN, "epoch", "tower"]).value.sum().to_numpy() == pytest.approx(1)


def test_similarities_are_densities_of_all_seeds_together(paper: Written) -> None:
    _, figure = drawn("similarities", paper.structure)
    assert [axis.get_title(loc="left") for axis in figure.axes] == [OBJECTIVES[each] for each in OBJECTIVES]
    for axis in figure.axes:
        steps = [patch for patch in axis.patches if hasattr(patch, "get_data")]
        assert len(steps) == 2
        for step in steps:
            values, edges, _ = step.get_data()
            assert float((values * np.diff(edges)).sum()) == pytest.approx(1)


def test_saturation_is_the_mean_of_the_seeds(paper: Written) -> None:
    data, figure = drawn("saturation", paper.logs)
    [axis] = figure.axes
    assert len(axis.lines) == 4
    clip = next(line for line in axis.lines if to_rgb(line.get_color()) == to_rgb(PALETTE["clip"]))
    means = data[data.objective == "clip"].groupby("epoch").value.mean()
    assert list(clip.get_ydata()) == pytest.approx(list(means))
    assert len(means) == 128


def test_a_log_from_before_saturation_was_written_is_refused(tmp_path: Path, small: Written) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text(small.logs[0].read_text().replace('"saturation"', '"other"'))
    with pytest.raises(InputError, match="no saturation; train the run again"):
        FIGURES["saturation"].read([path])


def test_throughput_is_per_process_also_where_their_number_changed(tmp_path: Path, small: Written) -> None:
    first, *_ = small.logs[0].read_text().splitlines()
    step = {"event": "step", "data_seconds": 0.1, "batch_seconds": 1.0}
    events = [json.loads(first) | {"processes": 4}, step | {"samples_per_second": 400}]
    events += [{"event": "start", "processes": 2}, step | {"samples_per_second": 240}]
    path = tmp_path / "metrics.jsonl"
    path.write_text("".join(json.dumps(each) + "\n" for each in events))
    data = FIGURES["throughput"].read([path]).set_index("quantity").value
    assert data["pairs_per_second"] == pytest.approx((400 / 4 + 240 / 2) / 2)
    assert data["waiting"] == pytest.approx(0.1)


def test_outcomes_add_up_to_the_list(small: Written) -> None:
    data, figure = drawn("outcomes", small.outcomes)
    assert data.groupby(["corpus", "split"]).share.sum().to_numpy() == pytest.approx(1)
    axis = figure.axes[0]
    assert axis.get_title(loc="left") == "Conceptual Captions, train: 4,000 rows in the list"
    names = [text.get_text() for text in axis.get_yticklabels()]
    assert names[:3] == ["kept", "http 404", "dns"]
    assert names[8] in ("duplicate link", "http 500")
    widths = [bar.get_width() for bar in axis.patches]
    assert widths[0] == pytest.approx(100 * 3301 / 4000)
    assert widths[1:] == sorted(widths[1:], reverse=True)


def test_the_rarest_outcomes_are_one_bar(tmp_path: Path) -> None:
    path = tmp_path / "cc3m" / "summary.csv"
    path.parent.mkdir()
    rows = [f"train,fetch,reason_{rank},,{rank}" for rank in range(1, 21)]
    path.write_text("\n".join(["split,stage,outcome,http_status,rows", "train,list,kept,,210", *rows]) + "\n")
    _, figure = drawn("outcomes", [path])
    names = [text.get_text() for text in figure.axes[0].get_yticklabels()]
    assert names[-1] == "8 rarer outcomes"
    assert figure.axes[0].patches[-1].get_width() == pytest.approx(100 * sum(range(1, 9)) / 210)


def test_predictions_show_the_right_class_in_another_colour(small: Written) -> None:
    data, figure = drawn("predictions", small.predictions[:8])
    titles = [axis.get_title().split("\n") for axis in figure.axes if axis.images]
    assert titles[:3] == [
        ["Birdsnap", "a painted bunting"],
        ["Birdsnap", "a barn owl"],  # the first and the last of three
        ["Country211", "Portugal"],
    ]
    colours = [to_rgb(bar.get_facecolor()) for axis in figure.axes for bar in axis.patches]
    right = (data["class"] == data.guess).sum()
    assert right > 0
    assert len(colours) == len(data)
    assert len(colours) - colours.count((0.72, 0.72, 0.72)) == right


def test_predictions_of_two_runs_are_not_one_sheet(small: Written) -> None:
    with pytest.raises(InputError, match="2 runs or epochs"):
        FIGURES["predictions"].read(small.predictions)


def test_a_sample_that_is_no_image_is_named(tmp_path: Path, small: Written) -> None:
    content = json.loads(small.predictions[0].read_text())
    content["samples"][0]["image_jpeg"] = "bm90IGFuIGltYWdl"
    path = tmp_path / "birdsnap.json"
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match="a sample of birdsnap is not an image"):
        drawn("predictions", [path])


def test_the_pipeline_is_the_workflow_as_it_stands() -> None:
    data, figure = drawn("pipeline", WORKFLOW)
    assert list(dict.fromkeys(data.stage)) == ["download", "shards", "train", "evaluate", "report"]
    shown = "\n".join(text.get_text() for text in figure.axes[0].texts)
    for path in WORKFLOW:
        if path.stem in set(data.stage):
            for line in path.read_text().splitlines():
                if line.startswith("rule "):
                    assert line.removeprefix("rule ").rstrip(":") in shown.split()
    assert "verified webdataset shards with an index" in shown


def test_each_objective_has_a_loss_panel_of_its_own_and_shares_the_recalls(small: Written) -> None:
    data, figure = drawn("training_curves", small.logs)
    clip_cc, _, cloob_cc, _, recall_cc, _ = figure.axes[:6]
    assert [clip_cc.get_ylabel(), cloob_cc.get_ylabel()] == ["CLIP\nloss", "CLOOB\nloss"]
    assert {to_rgb(line.get_color()) for line in cloob_cc.lines} == {to_rgb(PALETTE["cloob"])}
    assert len(recall_cc.lines) == 4  # two objectives, two directions
    [inset] = clip_cc.child_axes
    rates = data[(data.quantity == "learning_rate") & (data.corpus == "cc3m") & (data.objective == "clip")]
    assert list(inset.lines[0].get_ydata()) == pytest.approx(list(rates.value))


@pytest.mark.parametrize("epochs", [1, 37, 250])
def test_losses_are_averaged_within_bins(tmp_path: Path, epochs: int) -> None:
    world = write_world(tmp_path, objectives=("clip",), seeds=(1,), epochs=(epochs,), eval_epochs=())
    points = FIGURES["training_curves"].read(world.logs)
    losses = points[points.quantity == "loss"]
    events = [json.loads(line) for line in world.logs[0].read_text().splitlines()]
    steps = [event["loss"] for event in events if event["event"] == "step"]
    assert len(losses) == min(len(steps), POINTS)
    assert losses.epoch.is_monotonic_increasing
    if len(steps) <= POINTS:
        assert list(losses.value) == pytest.approx(steps)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not JSON"),
        ('{"event": "end"}\n', "not a log of"),
        ('{"event": "start", "run": {"objective": "siglip"}}\n', "objective 'siglip' is unknown"),
    ],
)
def test_a_damaged_log_is_refused(
    report: Callable, tmp_path: Path, capsys: pytest.CaptureFixture, text: str, message: str
) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text(text)
    assert report("figure", "training_curves", "--inputs", path, "--png", tmp_path / "f.png") == 2
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == [path]


def test_a_result_of_another_protocol_is_refused(small: Written) -> None:
    with pytest.raises(InputError, match="of the protocol zeroshot, not embedding_structure"):
        FIGURES["spectra"].read(small.zeroshot)


def test_the_same_run_given_twice_is_refused(small: Written, tmp_path: Path) -> None:
    again = tmp_path / "again.json"
    again.write_bytes(small.structure[0].read_bytes())
    with pytest.raises(InputError, match="give it once"):
        FIGURES["ajne"].read([*small.structure, again])


@pytest.mark.timeout(300)
def test_the_same_numbers_give_the_same_bytes_in_another_process_and_without_torch(
    report: Callable, tmp_path: Path, small: Written
) -> None:
    """The other process has another hash seed, and must not load what its env does not hold."""

    def verbs(out: Path) -> list[list[str]]:
        return [
            ["figure", name, "--inputs", *map(str, inputs_of(name, small)), "--png", f"{out}/{name}.png"]
            for name in FIGURES
        ]

    script = f"""
import sys
from cloob.cli import main
for arguments in {verbs(tmp_path / "second")!r}:
    try:
        main(["report", *arguments, "--title-suffix", {MARK!r}])
    except SystemExit as end:
        assert end.code == 0, end.code
heavy = {{"torch", "open_clip", "torchvision", "cloob.train", "cloob.evaluate"}} & set(sys.modules)
assert not heavy, heavy
"""
    for arguments in verbs(tmp_path / "first"):
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
