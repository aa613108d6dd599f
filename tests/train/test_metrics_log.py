"""The log of a run: truncation on resume, damaged lines, TensorBoard, W&B, a full disk."""

import errno
import json
import resource
import sys
import threading
from contextlib import suppress

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from cloob.common.errors import InputError, user_message
from cloob.train import log_position, metrics_log
from cloob.train.metrics_log import MetricsLog, validated_on
from tests.helpers.io_errors import ERRNO_NAMES, fail_reads_below, resource_limit


@pytest.fixture
def path(tmp_path):
    return tmp_path / "metrics.jsonl"


def write_steps(path, samples_seen, steps, loss=1.0):
    """Open the log at `samples_seen`, write one event per number of samples, and close it."""
    log = MetricsLog(path, samples_seen)
    for samples in steps:
        log.write("step", samples, step=samples // 8, loss=loss)
    log.close()


def logged_samples(path):
    return [json.loads(line)["samples_seen"] for line in path.read_text().splitlines()]


def test_a_resumed_log_is_truncated_to_the_checkpoint(path):
    write_steps(path, 0, (8, 16, 24))
    with path.open("a") as file:
        file.write('{"event": "st')  # killed while writing
    write_steps(path, 16, (24,), loss=2.0)
    assert logged_samples(path) == [8, 16, 24]
    assert json.loads(path.read_text().splitlines()[-1])["loss"] == 2.0


def test_a_validation_is_on_the_pairs_of_the_start_before_it(path):
    log = MetricsLog(path, 0)
    log.write("start", 0)  # by an older version
    log.write("validation", 8, loss=1.0)
    log.write("start", 8, validation_sha256="a")  # killed before it validated again
    assert validated_on(path, 8) is None
    log.write("step", 16, step=1, loss=1.0)
    log.write("validation", 16, loss=1.0)
    log.write("start", 16, validation_sha256="b")
    log.close()
    assert validated_on(path, 16) == "a"
    assert validated_on(path, 24) is None


def test_a_kill_while_damaged_lines_are_dropped_loses_nothing(path, monkeypatch):
    write_steps(path, 0, (8,))
    content = b"\0\0\n" + path.read_bytes()
    path.write_bytes(content)
    monkeypatch.setattr(type(path), "replace", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        MetricsLog(path, 8)
    assert path.read_bytes() == content


def test_an_undamaged_log_is_truncated_without_parsing_it(path, monkeypatch):
    write_steps(path, 0, range(8, 8001, 8))
    lines = path.read_bytes().splitlines(keepends=True)
    parsed = []
    monkeypatch.setattr(log_position, "parse_event", lambda line: parsed.append(line) or json.loads(line))
    monkeypatch.setattr(metrics_log, "parse_event", None)
    for steps in (999, 500, 7, 1):
        MetricsLog(path, 8 * steps).close()
        assert path.read_bytes() == b"".join(lines[:steps])
    assert len(parsed) < 4 * 12


@pytest.mark.parametrize("block_bytes", [1, 7, 13, 64, 2**22])
def test_damage_is_found_in_blocks_of_any_size(path, monkeypatch, block_bytes):
    monkeypatch.setattr(log_position, "_BLOCK_BYTES", block_bytes)
    write_steps(path, 0, range(8, 65, 8))
    content = path.read_bytes()
    for damaged in (
        content,
        content[1:],
        content.replace(b"}", b"", 1),
        content[:99] + b"\0" + content[100:],
    ):
        path.write_bytes(damaged)
        with path.open("rb") as log:
            assert (log_position.position_after(log, 64) is None) == (damaged != content)
    path.write_bytes(content[:-3])  # killed while writing
    with path.open("rb") as log:
        assert log_position.position_after(log, 64) == (content[:-3].rfind(b"\n") + 1, 56)


@pytest.mark.parametrize(
    ("samples", "state"),
    [
        ([8, 16], "ends after 16 pairs"),
        ([], "ends after 0 pairs"),
        ([8, 16, "damaged"], "ends after 16 pairs"),
        (None, "is missing"),
    ],
)
def test_a_log_that_lacks_steps_of_the_checkpoint_is_warned_of(path, capsys, samples, state):
    write_steps(path, 0, [number for number in samples or () if number != "damaged"])
    if samples is None:
        path.unlink()
    elif "damaged" in samples:
        path.write_bytes(b"\0\n" + path.read_bytes())
    MetricsLog(path, 1600).close()
    assert capsys.readouterr().out.splitlines()[-1] == (
        f"warning: {path}: {state}, but the checkpoint is after 1,600: tables and figures will lack the "
        f"steps in between; if you need them, delete {path.parent} and train again"
    )


def test_a_complete_log_is_resumed_without_a_warning(path, capsys):
    write_steps(path, 0, (8, 16, 24))
    for samples_seen in (24, 16):
        MetricsLog(path, samples_seen).close()
    assert capsys.readouterr().out == ""


def test_a_run_without_checkpoint_starts_a_new_log(path):
    path.write_text('{"event": "step", "samples_seen": 8}\n')
    MetricsLog(path, 0).close()
    assert path.read_text() == ""


def test_tensorboard_shows_the_numbers_of_a_resumed_run(path):
    for samples_seen, loss in ((0, 1.0), (400, 2.0)):
        log = MetricsLog(path, samples_seen)
        log.write("start", samples_seen, device="cpu")
        for step in range(samples_seen // 8 + 1, 201):
            log.write("step", 8 * step, step=step, loss=loss)
        log.write("validation", 1600, loss=loss)
        log.close()
    events = EventAccumulator(str(path.parent / "tensorboard")).Reload()
    expected = [(1, 1.0), (50, 1.0), (100, 2.0), (150, 2.0), (200, 2.0)]
    assert [(scalar.step // 8, scalar.value) for scalar in events.Scalars("step/loss")] == expected
    assert [scalar.value for scalar in events.Scalars("validation/loss")] == [2.0]


def test_weights_and_biases_logs_on_request(path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    log = MetricsLog(path, 0, "project", "a-run")
    log.write("step", 8, step=1, loss=1.0)
    log.close()
    assert list(path.parent.glob("wandb/offline-run-*/run-a-run.wandb"))


def test_missing_wandb_is_reported_in_one_line(path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(InputError, match="wandb is not installed"):
        MetricsLog(path, 0, "project", "a-run")


@pytest.mark.parametrize("damage", [b"{", b"\x00\x00\x00", b'{"event": "st\xffp", "samples_seen": 1}', b"0"])
def test_a_damaged_line_is_dropped_with_a_warning_and_later_lines_are_kept(path, capsys, damage):
    write_steps(path, 0, (8, 16, 24, 32))
    lines = path.read_bytes().split(b"\n")
    lines[1] = damage
    path.write_bytes(b"\n".join(lines))
    MetricsLog(path, 24).close()
    assert logged_samples(path) == [8, 24]
    assert f"warning: {path}: dropped damaged line 2; see metrics.jsonl.damaged" in capsys.readouterr().out
    assert path.with_suffix(".jsonl.damaged").read_bytes() == b"\n".join(lines)
    MetricsLog(path, 24).close()
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("name", ERRNO_NAMES)
def test_an_unreadable_log_is_not_truncated(path, monkeypatch, name):
    path.write_text('{"event": "step", "samples_seen": 8}\n')
    with monkeypatch.context() as patched:
        fail_reads_below(patched, path.parent, getattr(errno, name))
        with pytest.raises(OSError, match=r"metrics\.jsonl"):
            MetricsLog(path, 8)
    assert logged_samples(path) == [8]


def test_a_full_disk_names_the_log(path):
    log = MetricsLog(path, 0)
    with resource_limit(resource.RLIMIT_FSIZE, 100), pytest.raises(OSError) as error:
        for samples in range(8, 80, 8):
            log.write("other", samples, loss=1.0)
    assert user_message(error.value).startswith(f"{path}: File too large; raise the file size limit")
    with suppress(OSError):  # TensorBoard's thread may have reached the limit too
        log.close()


@pytest.mark.parametrize(("number", "traceback"), [(errno.ENOSPC, False), (None, True)])
def test_a_full_disk_prints_no_traceback_in_tensorboards_thread(path, capsys, monkeypatch, number, traceback):
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)
    log = MetricsLog(path, 0)

    def write():
        raise OSError(number, "full") if number else ValueError

    writer = threading.Thread(target=write)
    writer.start()
    writer.join()
    log.close()
    assert ("Traceback" in capsys.readouterr().err) == traceback
