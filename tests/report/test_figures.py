"""The figures: the right curves and bars, marked, the same bytes from the same numbers, and no torch."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.colors import to_rgb

from cloob.report.curves import POINTS, read_log, training_figure
from cloob.report.names import OBJECTIVES
from cloob.report.results import read_results
from cloob.report.style import PALETTE, TWO_COLUMNS, styled
from cloob.report.zeroshot_figure import zeroshot_figure

MARK = "The small world: not the paper's figures"


@pytest.fixture
def results(write_result: Callable) -> list[Path]:
    accuracies = {"infonce": (0.2, 0.4), "infoloob_hopfield": (0.5, 0.7)}
    return [
        write_result(dataset, accuracy, objective=objective, seed=seed)
        for dataset in ("birdsnap", "imagenet")
        for objective, values in accuracies.items()
        for seed, accuracy in enumerate(values, start=1)
    ] + [write_result("imagenet", 0.3, corpus="yfcc")]


@pytest.fixture
def logs(write_log: Callable) -> list[Path]:
    return [
        write_log(corpus, objective, seed)
        for corpus, seeds in (("cc", (1, 2)), ("yfcc", (1,)))
        for objective in ("infonce", "infoloob_hopfield")
        for seed in seeds
    ]


def test_bars_are_means_and_dots_are_seeds(results: list[Path]) -> None:
    table = read_results(results)
    with styled():
        figure = zeroshot_figure(table[table.metric == "accuracy"], MARK)
    cc, yfcc = figure.axes
    assert [axis.get_title(loc="left") for axis in (cc, yfcc)] == [
        "Conceptual Captions · RN50 · epoch 31",
        "YFCC · RN50 · epoch 31",
    ]
    assert [text.get_text() for text in cc.get_xticklabels()] == ["Birdsnap", "ImageNet"]
    heights = {
        objective: [
            bar.get_height() for bar in cc.patches if to_rgb(bar.get_facecolor()) == PALETTE[objective]
        ]
        for objective in ("infonce", "infoloob_hopfield")
    }
    assert heights == {
        "infonce": [pytest.approx(30), pytest.approx(30)],
        "infoloob_hopfield": [pytest.approx(60), pytest.approx(60)],
    }
    dots = [y for each in cc.collections if isinstance(each, PathCollection) for _, y in each.get_offsets()]
    assert sorted(dots) == pytest.approx([20, 20, 40, 40, 50, 50, 70, 70])
    chance = [each.get_segments()[0][0][1] for each in cc.collections if isinstance(each, LineCollection)]
    assert chance == pytest.approx([10, 10])
    assert cc.get_ylim()[0] == 0


def test_each_objective_has_a_loss_panel_of_its_own_and_shares_the_recalls(logs: list[Path]) -> None:
    points = pd.concat([read_log(path) for path in logs])
    with styled():
        figure = training_figure(points, MARK)
    clip_cc, clip_yfcc, cloob_cc, _, recall_cc, recall_yfcc = figure.axes
    assert [clip_cc.get_ylabel(), cloob_cc.get_ylabel()] == ["CLIP\nloss", "CLOOB\nloss"]
    assert (len(clip_cc.lines), len(clip_yfcc.lines)) == (2, 1)  # a line per seed
    assert (len(recall_cc.lines), len(recall_yfcc.lines)) == (8, 4)  # and here per direction and objective
    assert {to_rgb(line.get_color()) for line in cloob_cc.lines} == {to_rgb(PALETTE["infoloob_hopfield"])}
    assert list(recall_cc.lines[0].get_ydata()) == pytest.approx([10, 20, 30, 40])


def test_every_figure_says_where_it_comes_from(results: list[Path], logs: list[Path]) -> None:
    table = read_results(results)
    with styled():
        figures = [
            zeroshot_figure(table[table.metric == "accuracy"], MARK),
            training_figure(read_log(logs[0]), MARK),
        ]
    for figure in figures:
        assert MARK in figure.get_suptitle()
        assert figure.get_figwidth() == TWO_COLUMNS


def test_no_two_objectives_share_a_colour() -> None:
    assert set(PALETTE) == set(OBJECTIVES)
    assert len(set(PALETTE.values())) == len(OBJECTIVES)


@pytest.mark.parametrize("steps", [4, POINTS - 2, 1000])
def test_losses_are_averaged_within_bins(write_log: Callable, steps: int) -> None:
    points = read_log(write_log(steps=steps))
    losses = points[points.quantity == "loss"]
    assert len(losses) == min(steps, POINTS)
    assert losses.epoch.is_monotonic_increasing
    if steps <= POINTS:
        assert losses.value.iloc[0] == pytest.approx(6 * 0.99)
    assert len(points[points.quantity == "text_to_image_r1"]) == 4


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
    assert (
        report("training-curves", "--metrics", path, "--png", tmp_path / "f.png", "--pdf", tmp_path / "f.pdf")
        == 2
    )
    assert message in capsys.readouterr().err


def test_a_table_of_another_kind_is_refused(
    report: Callable, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    path = tmp_path / "books.csv"
    path.write_text("corpus,rows\ncc,3\n")
    assert (
        report("zeroshot-figure", "--table", path, "--png", tmp_path / "f.png", "--pdf", tmp_path / "f.pdf")
        == 2
    )
    assert "its columns are not" in capsys.readouterr().err


def test_the_same_numbers_give_the_same_bytes_in_another_process_and_without_torch(
    report: Callable, tmp_path: Path, results: list[Path], logs: list[Path]
) -> None:
    """The other process has another hash seed, and must not load what its env does not hold."""

    def verbs(out: Path) -> list[list[str]]:
        table = ["--csv", f"{out}/zeroshot.csv"]
        curves = ["--png", f"{out}/curves.png", "--pdf", f"{out}/curves.pdf"]
        return [
            ["table", "zeroshot", "--results", *map(str, results), *table],
            ["zeroshot-figure", "--table", table[1], "--png", f"{out}/bars.png", "--pdf", f"{out}/bars.pdf"],
            ["training-curves", "--metrics", *map(str, logs), *curves],
        ]

    script = f"""
import sys
from cloob.cli import main
for arguments in {verbs(tmp_path / "second")!r}:
    try:
        main(["report", *arguments, "--label", {MARK!r}])
    except SystemExit as end:
        assert end.code == 0, end.code
heavy = {{"torch", "open_clip", "torchvision", "cloob.train", "cloob.evaluate"}} & set(sys.modules)
assert not heavy, heavy
"""
    for arguments in verbs(tmp_path / "first"):
        assert report(*arguments) == 0
    command = [sys.executable, "-W", "error", "-c", script]
    subprocess.run(command, check=True, env=os.environ | {"PYTHONHASHSEED": "1"})

    names = sorted(path.name for path in (tmp_path / "first").iterdir())
    figures = [
        f"{stem}.{end}" for stem in ("bars", "curves") for end in ("csv", "pdf", "png", "sources.json")
    ]
    assert names == sorted([*figures, "zeroshot.csv", "zeroshot.md", "zeroshot.sources.json", "zeroshot.tex"])
    for name in names:
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes(), name
    pdf = (tmp_path / "first" / "bars.pdf").read_bytes()
    assert b"/FontFile2" in pdf  # TrueType, embedded
    assert b"CreationDate" not in pdf
