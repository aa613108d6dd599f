"""What the report reads, damaged: one line that names the file, the line or key, and what to do."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from cloob.common.errors import InputError
from cloob.report.figures import outcomes
from cloob.report.load.paper import Paper, read_paper
from cloob.report.load.result_file import read_result
from cloob.report.sources import write_sources
from cloob.report.tables.corpus import read_manifest
from tests.helpers.repository import ROOT
from tests.helpers.synthetic_results import Written, write_world

PAPER = ROOT / "config" / "paper_results.csv"


@pytest.fixture
def world(tmp_path: Path) -> Written:
    """One run's files."""
    return write_world(tmp_path, objectives=["clip"], seeds=[1], epochs=[1, 4], eval_epochs=[4])


@pytest.fixture
def refused(report: Callable[..., int], capsys: pytest.CaptureFixture, tmp_path: Path) -> Callable[..., str]:
    """The one line with which `cloob report …` refuses its input; nothing is written."""

    def run(*arguments: object) -> str:
        out = tmp_path / "out" / "made"
        kind = "--png" if arguments[0] == "figure" else "--csv"
        assert report(*arguments, kind, f"{out}.{kind[2:]}") == 2
        assert not out.parent.exists()
        [line] = capsys.readouterr().err.splitlines()
        return line.partition("error: ")[2]

    return run


STEP = {"event": "step", "step": 9, "epoch": 2.0, "loss": 1.0, "learning_rate": 1e-3}
SPEED = {"data_seconds": 0.1, "batch_seconds": 0.2, "samples_per_second": 100.0}


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"event": "step", "st', "a line is not JSON"),
        ("\0\0\0\0", "a line is not JSON"),
        (b"\xff\xfe", "a line is not JSON"),
        ("", "a line is not JSON"),
        ("[" * 100_000, "nested too deeply"),
        ("9" * 5000, "a line is not JSON"),
        (r'{"event": "half of a pair \ud800"}', "surrogates not allowed"),
        ("3", "it is 3"),
        ("[]", "it is a list"),
        ("{}", "event is missing"),
        (json.dumps(STEP), "samples_per_second is missing"),
        (json.dumps(STEP | SPEED | {"loss": "1.0"}), "loss is '1.0'"),
        (json.dumps(STEP | SPEED | {"loss": float("nan")}), "loss is nan"),
        (json.dumps(STEP | SPEED | {"loss": None}), "loss is missing"),
        (json.dumps(STEP | SPEED | {"epoch": True}), "epoch is True"),
        (json.dumps(STEP | SPEED | {"batch_seconds": 0}), "batch_seconds is 0"),
        (json.dumps(STEP | SPEED | {"samples_per_second": float("inf")}), "samples_per_second is inf"),
        ('{"event": "start", "processes": 0}', "processes is 0"),
        ('{"event": "start", "run": 3}', "run is 3"),
        ('{"event": "validation", "epoch": 4, "saturation": "x"}', "saturation is 'x'"),
    ],
)
def test_a_damaged_line_in_the_middle_of_a_log_is_named(
    refused: Callable[..., str], world: Written, line: str | bytes, said: str
) -> None:
    [log] = world.logs
    lines = log.read_bytes().splitlines()
    lines[2:2] = [line if isinstance(line, bytes) else line.encode()]
    log.write_bytes(b"\n".join(lines) + b"\n")
    error = refused("figure", "throughput", "--inputs", log)
    assert error.startswith(f"{log}, line 3: ")
    assert said in error
    assert "delete this line" in error
    assert len(error) < 500


@pytest.mark.parametrize("name", ["saturation", "training_curves", "throughput"])
def test_every_figure_of_logs_names_the_damaged_line(
    refused: Callable[..., str], world: Written, name: str
) -> None:
    [log] = world.logs
    log.write_text(log.read_text() + '{"event": "step", "step": 9}\n{"event": "val')
    lines = len(log.read_text().splitlines())
    error = refused("figure", name, "--inputs", log)
    assert error.startswith(f"{log}, line ")
    assert f"line {lines}: a line is not JSON" in error or f"line {lines - 1}: not a log" in error


@pytest.mark.parametrize("name", ["throughput", "provenance", "ablation", "claims"])
def test_every_table_of_logs_names_the_damaged_line(
    refused: Callable[..., str], world: Written, name: str
) -> None:
    [log] = world.logs
    log.write_text(
        log.read_text()
        .replace('"step": 3,', '"step": "3",', 1)
        .replace('"processes": 4', '"processes": 4, "device": "a"')
    )
    error = refused("table", name, "--results", log)
    assert error.startswith(f"{log}, line 4: not a log of `cloob train`: step is '3'; ")


DAMAGE = {
    "torn": (lambda text: text[: len(text) // 2], "not JSON"),
    "empty": (lambda text: "", "not JSON"),
    "a page": (lambda text: "<html>404</html>", "not JSON"),
    "a list": (lambda text: "[]", "it is a list"),
    "null": (lambda text: "null", "it is missing"),
    "no run": (lambda text: text.replace('"run"', '"ran"'), "run is missing"),
    "a run that is a word": (lambda text: '{"run": "x"}', "run is 'x'"),
    "no seed": (lambda text: text.replace('"seed"', '"seat"'), "run.seed is missing"),
    "a seed that is a word": (lambda text: text.replace('"seed": 1', '"seed": "1"'), "run.seed is '1'"),
    "a list for a corpus": (lambda text: text.replace('"corpus": "cc3m"', '"corpus": []'), "corpus is a list"),
    "an epoch that is a fraction": (lambda text: text.replace('"epoch": 4', '"epoch": 4.5'), "epoch is 4.5"),
    "no metrics": (lambda text: text.replace('"metrics"', '"numbers"'), "metrics is missing"),
}  # fmt: skip


@pytest.mark.parametrize("kind", DAMAGE)
@pytest.mark.parametrize("command", ["zeroshot", "embedding_structure", "linear_probe"])
def test_a_damaged_result_file_is_named_with_the_key(
    refused: Callable[..., str], world: Written, kind: str, command: str
) -> None:
    damage, said = DAMAGE[kind]
    path = world.zeroshot[0] if command == "zeroshot" else world.structure[-1]
    if command == "linear_probe":
        path = path.parents[1] / "linear_probe" / "gtsrb.json"
        path.parent.mkdir()
        path.write_text(world.zeroshot[0].read_text().replace('"zeroshot"', '"linear_probe", "probes": []'))
    path.write_text(damage(path.read_text()))
    error = refused("table", command, "--results", path)
    assert error.startswith(f"{path}: ")
    assert said in error
    assert "evaluate the run again" in error


@pytest.mark.parametrize("value", ["NaN", "Infinity", "1e999", '"0.5"', "true", "[0.5]", "9" * 400])
@pytest.mark.parametrize("form", ["table", "figure"])
def test_a_number_that_is_none_is_named(
    refused: Callable[..., str], world: Written, form: str, value: str
) -> None:
    path = world.zeroshot[0]
    result = json.loads(path.read_text())
    result["metrics"]["accuracy"] = "HERE"
    path.write_text(json.dumps(result).replace('"HERE"', value))
    error = refused(form, "zeroshot", "--results" if form == "table" else "--inputs", path)
    assert error.startswith(f"{path}: ")
    assert "metrics.accuracy is " in error


def test_what_a_figure_needs_and_a_result_lacks_is_named_with_the_file(
    refused: Callable[..., str], world: Written
) -> None:
    path = world.structure[-1]
    path.write_text(path.read_text().replace('"spectrum"', '"specter"'))
    assert refused("figure", "spectra", "--inputs", path) == (
        f"{path}: it has no spectrum.image; evaluate the checkpoint again"
    )
    path = world.predictions[0]
    path.write_text(path.read_text().replace('"probability": 0.', '"probability": "0.", "p": 0.', 1))
    error = refused("figure", "predictions", "--inputs", path)
    assert f"{path}: " in error
    assert "samples[0].top[0].probability is '0.'" in error


def test_a_result_with_a_byte_order_mark_is_read(world: Written) -> None:
    path = world.zeroshot[0]
    before = read_result(path, "zeroshot")
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert read_result(path, "zeroshot") == before


def test_a_damaged_manifest_is_named_with_the_key(tmp_path: Path) -> None:
    path = tmp_path / "shards.json"
    for text, said in (
        ("{", "not JSON"),
        ("[]", "it is a list"),
        ('{"samples": 8, "bytes": 1, "statistics": {}}', "statistics.width is missing"),
    ):
        path.write_text(text)
        with pytest.raises(InputError, match=said) as error:
            read_manifest(path)
        assert str(path) in str(error.value)


@pytest.mark.parametrize("rows", ["many", "1.5", "-1", ""])
def test_a_number_of_refused_rows_that_is_none_is_named(tmp_path: Path, rows: str) -> None:
    path = tmp_path / "cc3m" / "summary.csv"
    path.parent.mkdir()
    path.write_text(f"split,stage,outcome,http_status,rows\ntrain,list,kept,,{rows}\n")
    with pytest.raises(InputError, match="`rows` holds what is not a number from 0"):
        outcomes.read([path])


def test_an_empty_list_has_no_shares(tmp_path: Path) -> None:
    path = tmp_path / "cc3m" / "summary.csv"
    path.parent.mkdir()
    path.write_text("split,stage,outcome,http_status,rows\ntrain,list,kept,,0\ntrain,fetch,kept,,0\n")
    assert outcomes.read([path]).share.tolist() == [0]


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"], ids=["plain", "bom"])
@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"], ids=["unix", "windows", "old mac"])
def test_the_papers_results_are_read_as_any_editor_saves_them(
    tmp_path: Path, mark: bytes, end: bytes
) -> None:
    path = tmp_path / "paper.csv"
    path.write_bytes(mark + PAPER.read_bytes().replace(b"\n", end))
    pd.testing.assert_frame_equal(read_paper(path), read_paper(PAPER))
    assert Paper(path).number("CC3M", "RN50", "CLOOB", 31, "zeroshot", "birdsnap", "accuracy").mean == 3.06


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda text: text.replace(",2.26,", ",two,", 1), r"line 2: .*mean is 'two'"),
        (lambda text: text.replace(",2.26,", ',"2,26",', 1), r"line 2: .*mean is '2,26'"),
        (lambda text: text.replace(",3.06,0.3,", ",3.06,x,", 1), r"line 3: .*std is 'x'"),
        (lambda text: text.replace(",2.26,", ",,", 1), r"line 2: .*mean is nan"),
        (lambda text: text.replace(",", ";"), "no column table"),
        (lambda text: text.replace("mean", "average", 1), "no column mean"),
        (lambda text: "", "No columns"),
    ],
)
def test_a_number_of_the_paper_that_is_none_is_named(tmp_path: Path, damage: Callable, said: str) -> None:
    path = tmp_path / "paper.csv"
    path.write_text(damage(PAPER.read_text()))
    with pytest.raises(InputError, match=said) as error:
        Paper(path)
    assert "\n" not in str(error.value)


def test_a_table_in_utf_16_is_refused_with_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "paper.csv"
    path.write_text(PAPER.read_text(), encoding="utf-16")
    with pytest.raises(InputError, match="save it as CSV in UTF-8"):
        Paper(path)


def test_files_whose_names_are_not_utf_8_are_shown_all_the_same(
    report: Callable[..., int], world: Written, tmp_path: Path
) -> None:
    folder = tmp_path / "caf\udce9"
    shutil.copytree(tmp_path / "evaluate", folder / "evaluate")
    paths = [folder / path.relative_to(tmp_path) for path in world.zeroshot]
    gone = paths[0].parents[2].with_name("cc3m-cloob-RN50\udcff-cc3m-seed1") / "epoch_4/zeroshot/gtsrb.json"
    csv = folder / "tables" / "zeroshot.csv"
    assert report("table", "zeroshot", "--results", *paths, gone, "--allow-missing", "--csv", csv) == 0
    assert r"RN50\\xff" in csv.with_suffix(".md").read_text(encoding="utf-8")
    assert report("figure", "zeroshot", "--inputs", *paths, "--png", folder / "zeroshot.png") == 0
    write_sources([tmp_path / "x.csv"], paths, [])
    assert r"caf\xe9/evaluate" in json.loads((tmp_path / "x.sources.json").read_text())["inputs"][0]["path"]
