"""Compact logs: the same tables and figures as from JSON lines, read by column; damaged files are named."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cloob.common.errors import InputError
from cloob.report.figures import saturation, throughput, training_curves
from cloob.report.load.compact_logs import compact_log
from cloob.report.load.inputs import Inputs
from cloob.report.load.log_lines import TIMING
from cloob.report.load.logs import read_log
from cloob.report.tables import provenance
from cloob.report.tables import throughput as throughput_table
from tests.helpers.synthetic_results import write_synthetic_results

RUN = {
    "name": "a",
    "corpus": "cc3m",
    "architecture": "RN50",
    "objective": "clip",
    "recipe": "cc3m",
    "seed": 1,
}
START = {"event": "start", "run": RUN, "processes": 4, "device": "a"}
STEP = {"event": "step", "data_seconds": 0.1, "batch_seconds": 1, "samples_per_second": 400.0}


@pytest.fixture
def logs(tmp_path: Path) -> list[Path]:
    """The logs of four runs as JSON lines, each with its compact log beside it."""
    results = write_synthetic_results(tmp_path, objectives=["clip", "cloob"], seeds=[1, 2], epochs=[1, 4])
    for path in results.logs:
        compact_log(path, path.with_suffix(".parquet"))
    return results.logs


@pytest.fixture
def compact(tmp_path: Path) -> Callable[..., Path]:
    """Write events as a log; returns its compact log."""

    def write(*events: dict) -> Path:
        path = tmp_path / "metrics.jsonl"
        path.write_text("".join(json.dumps(event) + "\n" for event in events))
        compact_log(path, path.with_suffix(".parquet"))
        return path.with_suffix(".parquet")

    return write


@pytest.mark.parametrize("figure", [saturation, throughput, training_curves])
def test_figures_have_the_same_data_from_compact_logs(logs: list[Path], figure: ModuleType) -> None:
    compact_logs = [path.with_suffix(".parquet") for path in logs]
    data = [figure.read(Inputs(results=paths)) for paths in (logs, compact_logs)]
    pd.testing.assert_frame_equal(*data, check_exact=True)


@pytest.mark.parametrize("table", [throughput_table, provenance])
def test_tables_are_the_same_from_compact_logs(logs: list[Path], table: ModuleType) -> None:
    compact_logs = [path.with_suffix(".parquet") for path in logs]
    (document, long), (again, again_long) = (
        table.build(Inputs(results=paths)) for paths in (logs, compact_logs)
    )
    assert document == again
    pd.testing.assert_frame_equal(long, again_long, check_exact=True)


def test_every_number_and_event_is_kept(logs: list[Path]) -> None:
    for path in logs:
        lines, columns = read_log(path, step=TIMING), read_log(path.with_suffix(".parquet"), step=TIMING)
        assert (lines.run, lines.starts, lines.validations) == (
            columns.run,
            columns.starts,
            columns.validations,
        )
        keys = ("step", "epoch", "loss", "learning_rate")
        pd.testing.assert_frame_equal(lines.steps(keys), columns.steps(keys), check_exact=True)
        pd.testing.assert_frame_equal(lines.timing(), columns.timing(), check_exact=True)
        assert lines.steps(keys).step.dtype == np.int64


def test_each_step_has_the_hardware_that_it_ran_on(compact: Callable[..., Path]) -> None:
    resumed = {"event": "start", "processes": 2}
    for log in (
        read_log(compact(START, STEP, STEP, resumed, STEP), step=TIMING),
        read_log(compact(START, STEP, STEP, resumed, STEP).with_suffix(".jsonl"), step=TIMING),
    ):
        assert log.timing().processes.tolist() == [4, 4, 2]
        assert log.timing().device.tolist() == ["a"] * 3
        assert log.timing().rate_per_process.tolist() == [100, 100, 200]


def test_validations_are_on_the_same_pairs_and_one_per_epoch(compact: Callable[..., Path]) -> None:
    def start(pairs: str) -> dict:
        return START | {"validation_sha256": pairs}

    def validation(epoch: int, value: float) -> dict:
        return {"event": "validation", "epoch": epoch, "saturation": value}

    def values(*events: dict) -> list[tuple[int, float]]:
        log = read_log(compact(*events))
        return [(event["epoch"], event["saturation"]) for event in log.validations]

    changed = [start("a"), STEP, validation(1, 0.1), start("b"), STEP, validation(2, 0.2)]
    assert values(*changed) == [(2, 0.2)]
    assert values(*changed, start("a"), validation(2, 0.3)) == [(1, 0.1), (2, 0.3)]
    older = [START, STEP, validation(1, 0.1), STEP, validation(2, 0.2)]
    assert values(*older) == [(1, 0.1), (2, 0.2)]
    assert values(*older, start("a"), validation(2, 0.3)) == [(1, 0.1), (2, 0.3)]


def test_equal_logs_give_equal_files(compact: Callable[..., Path]) -> None:
    events = [START, STEP, {"event": "end"}]
    assert compact(*events).read_bytes() == compact(*events).read_bytes()


def test_a_key_that_a_step_lacks_is_named_when_it_is_needed(compact: Callable[..., Path]) -> None:
    path = compact(START, STEP | {"loss": 1.0}, STEP)
    assert len(read_log(path, step=TIMING).timing()) == 2
    for key in ("loss", "epoch"):
        with pytest.raises(
            InputError, match=rf"metrics\.parquet: .*a step has no {key}; train the run again"
        ):
            read_log(path, step=(key,))
    with pytest.raises(InputError, match=r"metrics\.parquet, event 1: .*torch is missing"):
        read_log(path, start=("torch",))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda content: b"", "damaged"),
        (lambda content: content[: len(content) // 2], "damaged"),
        (lambda content: content.replace(b"cloob.events", b"other.events"), "not a compact log"),
    ],
)
def test_a_damaged_compact_log_is_named_with_the_remedy(
    compact: Callable[..., Path], damage: Callable[[bytes], bytes], message: str
) -> None:
    path = compact(START, STEP)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(InputError, match=rf"^{path}: {message}.*make it again"):
        read_log(path)


RESUMED = {"event": "start", "processes": 2}


@pytest.mark.parametrize(
    ("events", "seconds", "problem"),
    [
        ([[0, START], [2, RESUMED], [1, RESUMED]], None, "the numbers of steps before its events"),
        ([[0, START], [3, RESUMED]], None, "the numbers of steps before its events"),
        ([[0, START], [-1, RESUMED]], None, "the numbers of steps before its events"),
        ([[0, START], [1.5, RESUMED]], None, "the numbers of steps before its events"),
        (None, pa.array(["a", "b"]), "column batch_seconds is string"),
        (None, pa.array([1, 2], pa.int32()), "column batch_seconds is int32"),
        (None, pa.array([1.0, float("nan")]), "batch_seconds of step 2 is nan"),
        (None, pa.array([1.0, float("inf")]), "batch_seconds of step 2 is inf"),
        (None, pa.array([0, 1]), "batch_seconds of step 1 is 0"),
    ],
)
def test_a_compact_log_is_checked_like_the_lines(
    compact: Callable[..., Path], events: list | None, seconds: pa.Array | None, problem: str
) -> None:
    path = compact(START, STEP, STEP)
    table = pq.read_table(path)
    metadata = {"cloob.events": json.dumps(events)} if events else table.schema.metadata
    if seconds is not None:
        table = table.set_column(table.column_names.index("batch_seconds"), "batch_seconds", seconds)
    pq.write_table(table.replace_schema_metadata(metadata), path)
    with pytest.raises(InputError) as error:
        read_log(path, step=TIMING).timing()
    assert str(error.value) == (
        f"{path}: damaged ({problem}); delete it and make it again: `cloob report compact-log`"
    )


def test_an_event_with_a_value_of_a_wrong_type_is_named(compact: Callable[..., Path]) -> None:
    path = compact(START, STEP)
    events = [[0, START], [1, {"event": "validation", "epoch": 1, "samples_per_second": None}]]
    metadata = {"cloob.events": json.dumps(events)}
    pq.write_table(pq.read_table(path).replace_schema_metadata(metadata), path)
    with pytest.raises(InputError, match=rf"^{path}, event 2: .*: samples_per_second is missing; train the"):
        read_log(path)


def test_a_damaged_page_of_a_column_is_named(compact: Callable[..., Path]) -> None:
    path = compact(START, *[STEP | {"loss": 1 / n} for n in range(1, 1000)])
    content = path.read_bytes()
    middle = len(content) // 3
    path.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])
    with pytest.raises(InputError, match=rf"^{path}: damaged"):
        read_log(path, step=("loss",)).steps(["loss"])


def test_a_missing_compact_log_names_its_command(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such log; `cloob report compact-log` writes it"):
        read_log(tmp_path / "metrics.parquet")


def test_a_partial_table_reads_logs_that_have_no_compact_log_yet(
    report: Callable[..., int], logs: list[Path], tmp_path: Path
) -> None:
    paths = [path.with_suffix(".parquet") for path in logs]
    paths[0].unlink()
    csv = tmp_path / "out" / "x.csv"
    assert report("table", "provenance", "--results", *paths, "--csv", csv) == 2
    assert report("table", "provenance", "--results", *paths, "--csv", csv, "--allow-missing") == 0
    assert len(pd.read_csv(csv)) == len(logs)
    sources = json.loads(csv.with_suffix(".sources.json").read_text())["inputs"]
    assert [source["path"].rpartition("/")[2] for source in sources].count("metrics.jsonl") == 1


@pytest.mark.parametrize("flags", [[], ["--allow-missing"]])
def test_a_log_that_is_newer_than_its_compact_log_is_read_instead(
    report: Callable[..., int], logs: list[Path], tmp_path: Path, flags: list[str]
) -> None:
    paths = [path.with_suffix(".parquet") for path in logs]
    expected, csv = tmp_path / "expected" / "x.csv", tmp_path / "out" / "x.csv"
    assert report("table", "provenance", "--results", *paths, "--csv", expected) == 0
    logs[0].write_text(logs[0].read_text().replace("c" * 64, "e" * 64))
    os.utime(paths[0], ns=(0, logs[0].stat().st_mtime_ns - 1))
    assert report("table", "provenance", "--results", *paths, "--csv", csv, *flags) == 0
    assert [frame.to_csv().count("e" * 64) for frame in (pd.read_csv(expected), pd.read_csv(csv))] == [0, 1]
