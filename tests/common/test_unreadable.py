"""Every reader of a file reports an I/O error of the system as such, not as a damaged file.

A stage that mistook an intact file for a damaged one would delete it, recompute it for days, or start over.
"""

import encodings.utf_8_sig  # noqa: F401 (otherwise imported when no file can be opened)
import errno
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from cloob.common.accounting import read_outcomes
from cloob.common.archive import is_archive
from cloob.common.errors import user_message
from cloob.common.hashing import sha256_file
from cloob.common.json_files import read_json, write_json
from cloob.common.json_lines import first_and_last_events
from cloob.common.text import read_text
from cloob.common.yaml_file import read_yaml
from cloob.download.corpora.line_reader import read_lines
from cloob.download.corpora.yfcc100m_sqlite import is_sqlite
from cloob.download.fetch.completed_tars import read_completed_tars
from cloob.download.ledger import SCHEMA, read_ledger_batches, read_part, write_ledger
from cloob.evaluate.features.cache import cached
from cloob.evaluate.protocols.result import is_up_to_date
from cloob.evaluate.testsets.content_hash import content_hash
from cloob.evaluate.testsets.image_folder import load_image
from cloob.evaluate.testsets.spec import _read_class_names, class_folders
from cloob.evaluate.testsets.video import middle_frame
from cloob.models.config import model_config
from cloob.models.load import load_model
from cloob.models.safe_load import read_weights
from cloob.report.load.compact_logs import write_content
from cloob.report.load.corpora import read_manifest
from cloob.report.load.log_lines import LogContent
from cloob.report.load.logs import read_log
from cloob.report.load.outcomes import read_splits
from cloob.report.load.paper import read_paper
from cloob.report.load.result_files import read_result
from cloob.shards.from_download import download_source
from cloob.shards.from_webdataset import webdataset_source
from cloob.shards.reader import Shards
from cloob.shards.source import read_byte_range
from cloob.shards.validate import _up_to_date_rows
from cloob.shards.webdataset_tars import decompress_tar
from cloob.shards.writer import Sample, finished_shard, write_shard
from cloob.train.state import Checkpointer, read_checkpoint, write_checkpoint
from tests.helpers.io_errors import fail_reads_below, no_free_descriptors


@dataclass
class Case:
    file: str
    make: Callable[[Path], Any]
    read: Callable[[Path], Any]


def make_checkpoint(path: Path) -> None:
    write_checkpoint(path, {"samples_seen": 8, "state_dict": {"weight": torch.zeros(9)}})


def make_tar(path: Path) -> None:
    (path.parent / "caption.txt").write_text("a cat")
    with tarfile.open(path, "w") as tar:
        tar.add(path.parent / "caption.txt", "1.txt")


def make_zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.txt", "a")


def make_shard(path: Path) -> None:
    write_shard(path, [Sample("1", b"jpeg", "a cat", "0" * 64, 4, 4)], "plan")


def make_manifest(path: Path) -> None:
    entry = write_shard(path.parent / "000000.tar", [Sample("1", b"jpeg", "a cat", "0" * 64, 4, 4)], "plan")
    write_json(path, {"samples": 1, "sha256": "0", "shards": [entry]})


def make_round(path: Path) -> None:
    """The files that img2dataset writes for one tar."""
    make_tar(path)
    write_json(path.with_name("00000_stats.json"), {"count": 1, "successes": 0})
    rows = {"key": ["0"], "uid": ["1"], "status": ["failed_to_download"], "error_message": ["HTTP Error 404"]}
    pq.write_table(pa.table(rows), path.with_suffix(".parquet"))


def make_compact_log(path: Path) -> None:
    start = {"event": "start", "run": {}}
    write_content(LogContent([(0, start)], {"loss": np.ones(9)}), path)


def features() -> dict[str, torch.Tensor]:
    return {"after": torch.ones(2, 3)}


CASES = {
    "latest checkpoint": Case(
        "epoch_0001.pt", make_checkpoint, lambda path: Checkpointer(path.parent, {}).latest_path()
    ),
    "checkpoint": Case("epoch_0001.pt", make_checkpoint, lambda path: read_checkpoint(path, {})),
    "weights": Case("weights.pt", make_checkpoint, read_weights),
    "model": Case("weights.pt", make_checkpoint, load_model),
    "shard index": Case(
        "000000.parquet",
        lambda p: make_shard(p.with_suffix(".tar")),
        lambda p: finished_shard(p.with_suffix(".tar"), "plan"),
    ),
    "manifest": Case("shards.json", make_manifest, Shards),
    "validated chunk": Case(
        "000000.parquet",
        lambda path: pq.write_table(pa.table({"a": [1]}), path),
        lambda path: _up_to_date_rows(path, "x"),
    ),
    "byte range": Case("000000.tar", make_tar, lambda path: read_byte_range((path, 0, 512))),
    "existing webdataset shard": Case(
        "a.tar", make_tar, lambda path: webdataset_source([path.parent], 1000).chunks[0].samples(path)
    ),
    "URL list": Case(
        "urls.parquet",
        lambda path: pq.write_table(pa.table({"uid": ["1"]}), path),
        lambda path: download_source([], path),
    ),
    "part of the URL list": Case(
        "urls.parquet",
        lambda p: pq.write_table(pa.table({"uid": ["1"], "url": ["u"]}), p),
        lambda path: read_part(path, 0, 1),
    ),
    "ledger": Case(
        "ledger.parquet",
        lambda path: write_ledger(path, SCHEMA.empty_table()),
        lambda path: list(read_ledger_batches(path, ["uid"])),
    ),
    "list of captions and URLs": Case(
        "list.tsv",
        lambda path: path.write_text("a cat\thttp://x.example\n"),
        lambda path: list(read_lines(path)),
    ),
    "tar of img2dataset": Case(
        "00000_stats.json",
        lambda p: make_round(p.with_name("00000.tar")),
        lambda p: read_completed_tars(p.parent, {}),
    ),
    "tar archive": Case("a.tar", make_tar, is_archive),
    "zip archive": Case("a.zip", make_zip, is_archive),
    "features": Case(
        "cache",
        lambda path: cached(path, "set", {}, features),
        lambda path: cached(path, "set", {}, features),
    ),
    "result": Case(
        "result.json", lambda path: write_json(path, {"run": 1}), lambda path: is_up_to_date(path, {"run": 1})
    ),
    "JSON": Case("a.json", lambda path: write_json(path, {}), read_json),
    "SHA-256": Case("a", lambda path: path.write_text("a"), sha256_file),
    "SHA-256 of images": Case(
        "a.jpg", lambda p: p.write_text("a"), lambda p: content_hash([str(p)], ["a"], p.parent)
    ),
    "image": Case("a.png", lambda path: Image.new("RGB", (4, 4)).save(path), load_image),
    "video": Case("a.avi", lambda path: path.write_bytes(b"RIFF"), middle_frame),
    "class folders": Case(
        "test", lambda path: (path / "cat").mkdir(parents=True), lambda p: class_folders(p, p)
    ),
    "training log": Case("metrics.jsonl", lambda path: path.write_text('{"event": "start"}\n'), read_log),
    "compact log": Case("metrics.parquet", make_compact_log, lambda path: read_log(path).steps(["loss"])),
    "outcomes": Case(
        "f.csv", lambda path: path.write_text("outcome,rows\nkept,1\n"), lambda p: read_splits([("a/b/c", p)])
    ),
    "result for a table": Case("r.json", lambda path: write_json(path, {}), read_result),
    "manifest for a table": Case("shards.json", make_manifest, read_manifest),
    "outcomes of a stage": Case(
        "f.csv", lambda path: path.write_text("outcome,rows\nkept,1\n"), read_outcomes
    ),
    "spec": Case("a.yaml", lambda path: path.write_text("a: 1\n"), lambda p: read_yaml(p, "test set")),
    "architecture": Case("a.json", lambda path: path.write_text("{}"), lambda p: model_config(str(p))),
    "class names": Case(
        "classes.txt", lambda path: path.write_text("cat\n"), lambda p: _read_class_names(p, p)
    ),
    "text": Case("list.txt", lambda path: path.write_text("1.avi\n"), read_text),
    "end of the training log": Case(
        "m.jsonl",
        lambda path: path.write_text('{"event": "start"}\n'),
        lambda p: first_and_last_events(p, 99),
    ),
    "SQLite database": Case("a.sql", lambda path: path.write_text("a"), is_sqlite),
    "possibly compressed tar": Case("a.tar", make_tar, lambda path: decompress_tar(path, path)),
    "paper results": Case("paper.csv", lambda path: path.write_text("mean\n1\n"), read_paper),
}


def directory_state(folder: Path) -> dict[str, bytes | None]:
    return {str(path): path.read_bytes() if path.is_file() else None for path in sorted(folder.rglob("*"))}


@pytest.mark.parametrize("name", CASES)
def test_too_many_open_files_is_reported_for_the_file(tmp_path: Path, name: str) -> None:
    case = CASES[name]
    path = tmp_path / case.file
    case.make(path)
    before = directory_state(tmp_path)
    with no_free_descriptors(), pytest.raises(OSError) as raised:
        case.read(path)
    message = user_message(raised.value)
    assert message is not None
    assert Path(message.partition(": ")[0]).is_relative_to(tmp_path)
    assert "Too many open files; raise the limit of open files (`ulimit -n`" in message
    assert directory_state(tmp_path) == before


# Files read by C or C++ code, where this test cannot inject errors.
READ_BY_NATIVE_CODE = {
    "features",
    "class folders",
    "validated chunk",
    "URL list",
    "part of the URL list",
    "ledger",
}


@pytest.mark.parametrize("name", sorted(CASES.keys() - READ_BY_NATIVE_CODE))
def test_failing_disk_is_reported_for_the_file(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = CASES[name]
    path = tmp_path / case.file
    case.make(path)
    before = directory_state(tmp_path)
    with monkeypatch.context() as patched, pytest.raises(OSError) as raised:
        fail_reads_below(patched, tmp_path, errno.EIO)
        case.read(path)
    message = user_message(raised.value)
    assert message is not None
    assert Path(message.partition(": ")[0]).is_relative_to(tmp_path)
    assert "Input/output error; the disk or file server failed" in message
    assert directory_state(tmp_path) == before
