"""Damaged inputs of the report are one-line errors: the file, the line or key, and the remedy."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from cloob.common.errors import InputError
from cloob.report.figures import outcomes
from cloob.report.load.corpora import read_manifest
from cloob.report.load.inputs import Inputs
from cloob.report.load.paper import Paper, PaperColumn, read_paper
from cloob.report.load.result_files import read_result
from cloob.report.sources import write_sources
from tests.helpers.repository import ROOT
from tests.helpers.synthetic_results import SyntheticResults, write_synthetic_results

PAPER = ROOT / "config" / "paper_results.csv"
COLUMN = PaperColumn("CC3M", "RN50", "CLOOB", 31)


@pytest.fixture
def results(tmp_path: Path) -> SyntheticResults:
    """The files of one run."""
    return write_synthetic_results(tmp_path, objectives=["clip"], seeds=[1], epochs=[1, 4], eval_epochs=[4])


@pytest.fixture
def error_of(report: Callable[..., int], capsys: pytest.CaptureFixture, tmp_path: Path) -> Callable[..., str]:
    """The one-line error of `cloob report …`, which must not write anything."""

    def run(*arguments: object) -> str:
        out = tmp_path / "out" / "output"
        flag = "--png" if arguments[0] == "figure" else "--csv"
        assert report(*arguments, flag, f"{out}.{flag[2:]}") == 2
        assert not out.parent.exists()
        [line] = capsys.readouterr().err.splitlines()
        return line.partition("error: ")[2]

    return run


STEP = {"event": "step", "step": 9, "epoch": 2.0, "loss": 1.0, "learning_rate": 1e-3}
TIMING = {"data_seconds": 0.1, "batch_seconds": 0.2, "samples_per_second": 100.0}


@pytest.mark.parametrize(
    ("line", "message"),
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
        (json.dumps(STEP | TIMING | {"loss": "1.0"}), "loss is '1.0'"),
        (json.dumps(STEP | TIMING | {"loss": float("nan")}), "loss is nan"),
        (json.dumps(STEP | TIMING | {"loss": None}), "loss is missing"),
        (json.dumps(STEP | TIMING | {"epoch": True}), "epoch is True"),
        (json.dumps(STEP | TIMING | {"batch_seconds": 0}), "batch_seconds is 0"),
        (json.dumps(STEP | TIMING | {"samples_per_second": float("inf")}), "samples_per_second is inf"),
        ('{"event": "start", "processes": 0}', "processes is 0"),
        ('{"event": "start", "run": 3}', "run is 3"),
        ('{"event": "validation", "epoch": 4, "saturation": "x"}', "saturation is 'x'"),
        ('{"event": "validation", "epoch": 4, "step": null}', "step is missing"),
        ('{"event": "start", "batch_seconds": "x"}', "batch_seconds is 'x'"),
        (json.dumps(STEP | TIMING | {"processes": []}), "processes is a list"),
    ],
)
def test_damaged_line_within_a_log_is_named(
    error_of: Callable[..., str], results: SyntheticResults, line: str | bytes, message: str
) -> None:
    [log] = results.logs
    lines = log.read_bytes().splitlines()
    lines[2:2] = [line if isinstance(line, bytes) else line.encode()]
    log.write_bytes(b"\n".join(lines) + b"\n")
    error = error_of("figure", "throughput", "--results", log)
    assert error.startswith(f"{log}, line 3: ")
    assert message in error
    assert "delete this line" in error
    assert len(error) < 500


@pytest.mark.parametrize("name", ["saturation", "training_curves", "throughput"])
def test_every_figure_of_logs_names_the_damaged_line(
    error_of: Callable[..., str], results: SyntheticResults, name: str
) -> None:
    [log] = results.logs
    log.write_text(log.read_text() + '{"event": "step", "step": 9}\n{"event": "val')
    lines = len(log.read_text().splitlines())
    error = error_of("figure", name, "--results", log)
    assert error.startswith(f"{log}, line ")
    assert f"line {lines}: a line is not JSON" in error or f"line {lines - 1}: not a log" in error


@pytest.mark.parametrize("name", ["throughput", "provenance", "ablation", "claims"])
def test_every_table_of_logs_names_the_damaged_line(
    error_of: Callable[..., str], results: SyntheticResults, name: str
) -> None:
    [log] = results.logs
    log.write_text(
        log.read_text()
        .replace('"step": 3,', '"step": "3",', 1)
        .replace('"processes": 4', '"processes": 4, "device": "a"')
    )
    error = error_of("table", name, "--results", log)
    assert error.startswith(f"{log}, line 4: not a log of `cloob train`: step is '3'; ")


@pytest.mark.parametrize(("old", "new"), [("epoch_4", "epoch_31"), ("-seed1/", "-seed2/")])
@pytest.mark.parametrize("kind", ["table", "figure"])
def test_result_in_the_folder_of_another_run_or_epoch_is_an_error(
    error_of: Callable[..., str], results: SyntheticResults, kind: str, old: str, new: str
) -> None:
    """As after the evaluation of a renamed checkpoint."""
    path = Path(str(results.zeroshot[0]).replace(old, new))
    path.parent.mkdir(parents=True)
    shutil.copy(results.zeroshot[0], path)
    error = error_of(kind, "zeroshot", "--results", path)
    assert error.startswith(f"{path}: of cc3m-clip-RN50-cc3m-seed1 at epoch 4; delete it, and evaluate ")


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
    "a list as corpus": (lambda text: text.replace('"corpus": "cc3m"', '"corpus": []'), "corpus is a list"),
    "an epoch that is a fraction": (lambda text: text.replace('"epoch": 4', '"epoch": 4.5'), "epoch is 4.5"),
    "no metrics": (lambda text: text.replace('"metrics"', '"numbers"'), "metrics is missing"),
}  # fmt: skip


@pytest.mark.parametrize("kind", DAMAGE)
@pytest.mark.parametrize("command", ["zeroshot", "embedding_structure", "linear_probe"])
def test_damaged_result_file_is_named_with_the_key(
    error_of: Callable[..., str], results: SyntheticResults, kind: str, command: str
) -> None:
    damage, message = DAMAGE[kind]
    path = results.zeroshot[0] if command == "zeroshot" else results.structure[-1]
    if command == "linear_probe":
        path = path.parents[1] / "linear_probe" / "gtsrb.json"
        path.parent.mkdir()
        path.write_text(results.zeroshot[0].read_text().replace('"zeroshot"', '"linear_probe", "probes": []'))
    path.write_text(damage(path.read_text()))
    error = error_of("table", command, "--results", path)
    assert error.startswith(f"{path}: ")
    assert message in error
    assert "evaluate the run again" in error


@pytest.mark.parametrize("value", ["NaN", "Infinity", "1e999", '"0.5"', "true", "[0.5]", "9" * 400])
@pytest.mark.parametrize("verb", ["table", "figure"])
def test_invalid_number_in_a_result_is_named(
    error_of: Callable[..., str], results: SyntheticResults, verb: str, value: str
) -> None:
    path = results.zeroshot[0]
    result = json.loads(path.read_text())
    result["metrics"]["accuracy"] = "HERE"
    path.write_text(json.dumps(result).replace('"HERE"', value))
    error = error_of(verb, "zeroshot", "--results", path)
    assert error.startswith(f"{path}: ")
    assert "metrics.accuracy is " in error


def test_missing_key_of_a_result_is_named(error_of: Callable[..., str], results: SyntheticResults) -> None:
    path = results.structure[-1]
    path.write_text(path.read_text().replace('"spectrum"', '"specter"'))
    assert error_of("figure", "spectra", "--results", path) == (
        f"{path}: key spectrum.image is missing; evaluate the checkpoint again"
    )
    path = results.predictions[0]
    path.write_text(path.read_text().replace('"probability": 0.', '"probability": "0.", "p": 0.', 1))
    error = error_of("figure", "predictions", "--results", path)
    assert f"{path}: " in error
    assert "samples[0].top[0].probability is '0.'" in error


def test_result_with_a_byte_order_mark_is_read(results: SyntheticResults) -> None:
    path = results.zeroshot[0]
    before = read_result(path, "zeroshot")
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert read_result(path, "zeroshot") == before


def test_damaged_manifest_is_named_with_the_key(tmp_path: Path) -> None:
    path = tmp_path / "shards.json"
    for text, message in (
        ("{", "not JSON"),
        ("[]", "it is a list"),
        ('{"samples": 8, "bytes": 1, "statistics": {}}', "statistics.width is missing"),
    ):
        path.write_text(text)
        with pytest.raises(InputError, match=message) as error:
            read_manifest(path)
        assert str(path) in str(error.value)


@pytest.mark.parametrize("rows", ["many", "1.5", "-1", ""])
def test_invalid_number_of_rejected_rows_is_named(tmp_path: Path, rows: str) -> None:
    path = tmp_path / "cc3m" / "summary.csv"
    path.parent.mkdir()
    path.write_text(f"split,stage,outcome,http_status,rows\ntrain,list,kept,,{rows}\n")
    with pytest.raises(InputError, match="`rows` must be non-negative integers"):
        outcomes.read(Inputs(summaries=[path]))


def test_empty_url_list_has_no_shares(tmp_path: Path) -> None:
    path = tmp_path / "cc3m" / "summary.csv"
    path.parent.mkdir()
    path.write_text("split,stage,outcome,http_status,rows\ntrain,list,kept,,0\ntrain,fetch,kept,,0\n")
    assert outcomes.read(Inputs(summaries=[path])).share.tolist() == [0]


@pytest.mark.parametrize("bom", [b"", b"\xef\xbb\xbf"], ids=["plain", "bom"])
@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"], ids=["unix", "windows", "old mac"])
def test_the_papers_results_are_read_with_any_line_ending_and_byte_order_mark(
    tmp_path: Path, bom: bytes, end: bytes
) -> None:
    path = tmp_path / "paper.csv"
    path.write_bytes(bom + PAPER.read_bytes().replace(b"\n", end))
    pd.testing.assert_frame_equal(read_paper(path), read_paper(PAPER))
    assert Paper(path).number(COLUMN, "zeroshot", "birdsnap", "accuracy").mean == 3.06


@pytest.mark.parametrize(
    ("damage", "message"),
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
def test_invalid_number_of_the_paper_is_named(tmp_path: Path, damage: Callable, message: str) -> None:
    path = tmp_path / "paper.csv"
    path.write_text(damage(PAPER.read_text()))
    with pytest.raises(InputError, match=message) as error:
        Paper(path)
    assert "\n" not in str(error.value)


def test_csv_in_utf_16_is_an_error_with_the_remedy(tmp_path: Path) -> None:
    path = tmp_path / "paper.csv"
    path.write_text(PAPER.read_text(), encoding="utf-16")
    with pytest.raises(InputError, match="save it as CSV in UTF-8"):
        Paper(path)


def test_file_names_that_are_not_utf_8_are_shown_with_escapes(
    report: Callable[..., int], results: SyntheticResults, tmp_path: Path
) -> None:
    folder = tmp_path / "caf\udce9"
    shutil.copytree(tmp_path / "evaluate", folder / "evaluate")
    paths = [folder / path.relative_to(tmp_path) for path in results.zeroshot]
    missing = (
        paths[0].parents[2].with_name("cc3m-cloob-RN50\udcff-cc3m-seed1") / "epoch_4/zeroshot/gtsrb.json"
    )
    csv = folder / "tables" / "zeroshot.csv"
    assert report("table", "zeroshot", "--results", *paths, missing, "--allow-missing", "--csv", csv) == 0
    assert r"RN50\\xff" in csv.with_suffix(".md").read_text(encoding="utf-8")
    assert report("figure", "zeroshot", "--results", *paths, "--png", folder / "zeroshot.png") == 0
    write_sources([tmp_path / "x.csv"], paths, [])
    assert r"caf\xe9/evaluate" in json.loads((tmp_path / "x.sources.json").read_text())["inputs"][0]["path"]
