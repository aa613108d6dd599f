"""Tables of training logs: throughput by hardware, and provenance of every run."""

import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from cloob.cli import main
from tests.helpers.result_writers import log_path, run_of, write_log


@pytest.fixture
def table(tmp_path: Path) -> Callable[..., tuple[pd.DataFrame, str]]:
    """Make a table as the pipeline does; returns its CSV and its Markdown."""

    def make(name: str, paths: list[Path], *flags: str, status: int = 0) -> tuple[pd.DataFrame, str]:
        csv = tmp_path / "tables" / f"{name}.csv"
        options = ["--csv", str(csv), "--corpus-title", "cc3m=Conceptual Captions"]
        with pytest.raises(SystemExit) as exit_info:
            main(["report", "table", name, "--results", *map(str, paths), *flags, *options])
        assert exit_info.value.code == status
        return (pd.read_csv(csv), csv.with_suffix(".md").read_text()) if not status else (pd.DataFrame(), "")

    return make


def test_throughput_is_reported_by_hardware(table: Callable, tmp_path: Path) -> None:
    both = ((4, "H100"), (2, "A100"))
    paths = [
        write_log(tmp_path, run_of("clip", 1), starts=both, pairs_per_second=400.0),
        write_log(tmp_path, run_of("clip", 2), starts=both[:1], pairs_per_second=500.0),
        write_log(tmp_path, run_of("cloob", 1), starts=both[:1], pairs_per_second=320.0),
    ]
    long, text = table("throughput", paths)
    start = "| Conceptual Captions | RN50 | CLIP | cc3m "
    # 64 pairs in 0.16 and 0.128 s, of which a quarter waiting.
    assert (
        f"{start}| 4 × H100 | 450.0 (400.0 to 500.0) | 112.5 (100.0 to 125.0) | "
        "0.144 (0.128 to 0.160) | 25.0 | 0.00 | 2 |" in text
    )
    assert f"{start}| 2 × A100 | 400.0 | 200.0 | 0.160 | 25.0 | 0.00 | 1 |" in text
    hours = long[(long.metric == "hours") & (long.objective == "clip") & (long.device == "H100")]
    assert hours.value.tolist() == pytest.approx([10 * 0.16 / 3600, 10 * 0.128 / 3600])


def test_provenance_lists_commits_config_data_and_hardware(table: Callable, tmp_path: Path) -> None:
    first, second = run_of("clip", 1), run_of("cloob", 1)
    paths = [
        write_log(tmp_path, second, starts=((4, "H100"),)),
        write_log(tmp_path, first, starts=((4, "H100"), (2, "A100"))),
    ]
    long, text = table("provenance", paths)
    assert long.run.tolist() == [first["name"], second["name"]]
    row = long.iloc[0]
    assert row.commit == f"{'0' * 40} {'1' * 40}"
    assert (row.corpus_sha256, row.urls_sha256) == ("c" * 64, "d" * 64)
    assert (row.pairs, row.restarts, row.hardware) == (640, 1, "4 × H100; 2 × A100")
    assert row.hours == pytest.approx(20 * 0.64 / 3600)
    # The config hash depends on the seed, not on the hardware.
    assert len(set(long.config_sha256)) == 2
    again, _ = table("provenance", [write_log(tmp_path / "again", first, starts=((1, "cpu"),))])
    assert again.config_sha256[0] == long.config_sha256[0]
    assert (
        f"| {first['name']} | 00000000, 11111111 | {row.config_sha256[:8]} | cccccccc | 640 | 0.00 |" in text
    )


def test_run_without_a_log_is_a_gap_with_a_footnote(table: Callable, tmp_path: Path) -> None:
    log = write_log(tmp_path, run_of("clip", 1))
    missing = [log_path(tmp_path, run_of("cloob", seed)) for seed in (1, 2)]
    for name in ("throughput", "provenance"):
        table(name, [log, *missing], status=2)
    _, text = table("throughput", [log, *missing], "--allow-missing")
    assert "| Conceptual Captions | RN50 | CLOOB | cc3m | — | — | — | — | — | — | 0 [a] |" in text
    assert (
        f"- [a] no log yet; build `{tmp_path}/train/cc3m-cloob-RN50-cc3m-seed{{1,2}}/metrics.jsonl`" in text
    )
    _, text = table("provenance", [log, *missing], "--allow-missing")
    assert "| cc3m-cloob-RN50-cc3m-seed2 [b] | — | — | — | — | — | — | — |" in text
    assert f"- [b] no log yet; build `{missing[1]}`" in text


def test_log_of_an_older_version_is_an_error(table: Callable, tmp_path: Path, capfd) -> None:
    path = write_log(tmp_path, run_of("clip", 1))
    path.write_text(path.read_text().replace('"restarts"', '"before"'))
    table("provenance", [path], status=2)
    assert f"{path}: its start event has no 'restarts'" in capfd.readouterr().err


def test_same_log_under_two_paths_is_an_error(table: Callable, tmp_path: Path, capfd) -> None:
    logs = [write_log(tmp_path / name, run_of("clip", 1)) for name in ("first", "second")]
    table("provenance", logs, status=2)
    assert "the log of cc3m-clip-RN50-cc3m-seed1 is given twice" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "line 1: a line is not JSON"),
        (json.dumps({"event": "step"}), "not a log of `cloob train`"),
        ("", "not a log of `cloob train`"),
    ],
)
def test_file_that_is_not_a_log_is_an_error_that_names_it(
    table: Callable, tmp_path: Path, capfd, text: str, message: str
) -> None:
    path = log_path(tmp_path, run_of("clip", 1))
    path.parent.mkdir(parents=True)
    path.write_text(text)
    table("provenance", [path], status=2)
    error = capfd.readouterr().err.strip()
    assert message in error
    assert str(path) in error
    assert "\n" not in error
