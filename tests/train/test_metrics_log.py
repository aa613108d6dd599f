import errno
import json
import resource
import threading

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from cloob.common.errors import InputError, user_message
from cloob.train.metrics_log import Metrics
from tests.helpers.io_errors import ERRNO_NAMES, fail_reads_below, resource_limit


def events(path):
    return [json.loads(line)["samples_seen"] for line in path.read_text().splitlines()]


def test_the_log_is_cut_back_to_the_checkpoint_when_a_run_goes_on(tmp_path):
    path = tmp_path / "metrics.jsonl"
    log = Metrics(path, 0)
    for samples in (8, 16, 24):
        log.write("step", samples, loss=1.0)
    log.close()
    with path.open("a") as file:
        file.write('{"event": "st')  # where the kill came
    again = Metrics(path, 16)
    again.write("step", 24, loss=2.0)
    again.close()
    assert events(path) == [8, 16, 24]
    assert json.loads(path.read_text().splitlines()[-1])["loss"] == 2.0


def test_a_kill_while_the_log_is_cut_back_loses_nothing(tmp_path, monkeypatch):
    path = tmp_path / "metrics.jsonl"
    log = Metrics(path, 0)
    log.write("step", 8)
    log.close()
    monkeypatch.setattr(type(path), "replace", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        Metrics(path, 8)
    assert events(path) == [8]


def test_a_run_from_the_start_forgets_an_old_log(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"event": "step", "samples_seen": 8}\n')
    Metrics(path, 0).close()
    assert path.read_text() == ""


def test_tensorboard_shows_the_numbers_of_a_run_that_went_on(tmp_path):
    path = tmp_path / "metrics.jsonl"
    for samples_seen, loss in ((0, 1.0), (16, 2.0)):
        log = Metrics(path, samples_seen)
        log.write("start", samples_seen, device="cpu")
        for samples in range(samples_seen + 8, 41, 8):
            log.write("step", samples, loss=loss)
        log.close()
    shown = EventAccumulator(str(tmp_path / "tensorboard")).Reload().Scalars("step/loss")
    assert [(one.step, one.value) for one in shown] == [(8, 1.0), (16, 1.0), (24, 2.0), (32, 2.0), (40, 2.0)]


def test_weights_and_biases_takes_them_if_asked(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    log = Metrics(tmp_path / "metrics.jsonl", 0, "project", "a-run")
    log.write("step", 8, loss=1.0)
    log.close()
    assert list(tmp_path.glob("wandb/offline-run-*/run-a-run.wandb"))


def test_without_wandb_one_line_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "wandb", None)
    with pytest.raises(InputError, match="wandb is not installed"):
        Metrics(tmp_path / "metrics.jsonl", 0, "project", "a-run")


@pytest.mark.parametrize("damage", [b"{", b"\x00\x00\x00", b'{"event": "st\xffp", "samples_seen": 1}', b"0"])
def test_a_damaged_line_in_the_middle_costs_no_line_behind_it_and_is_named(tmp_path, capsys, damage):
    path = tmp_path / "metrics.jsonl"
    log = Metrics(path, 0)
    for samples in (8, 16, 24, 32):
        log.write("step", samples, loss=1.0)
    log.close()
    lines = path.read_bytes().split(b"\n")
    lines[1] = damage
    path.write_bytes(b"\n".join(lines))
    Metrics(path, 24).close()
    assert events(path) == [8, 24]
    assert f"warning: {path}: damaged in line 2, which is left out" in capsys.readouterr().out
    assert (tmp_path / "metrics.jsonl.damaged").read_bytes() == b"\n".join(lines)
    Metrics(path, 24).close()
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("name", ERRNO_NAMES)
def test_a_log_that_cannot_be_read_is_not_cut(tmp_path, monkeypatch, name):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"event": "step", "samples_seen": 8}\n')
    with monkeypatch.context() as patched:
        fail_reads_below(patched, tmp_path, getattr(errno, name))
        with pytest.raises(OSError, match=r"metrics\.jsonl"):
            Metrics(path, 8)
    assert events(path) == [8]


def test_a_full_disk_names_the_log(tmp_path):
    path = tmp_path / "metrics.jsonl"
    log = Metrics(path, 0)
    with resource_limit(resource.RLIMIT_FSIZE, 100), pytest.raises(OSError) as failed:
        for samples in range(8, 80, 8):
            log.write("other", samples, loss=1.0)
    assert user_message(failed.value).startswith(f"{path}: File too large; raise the file size limit")
    log.close()


@pytest.mark.parametrize(("number", "traceback"), [(errno.ENOSPC, False), (None, True)])
def test_tensorboards_thread_prints_no_traceback_of_a_full_disk(
    tmp_path, capsys, monkeypatch, number, traceback
):
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)
    log = Metrics(tmp_path / "metrics.jsonl", 0)

    def write():
        raise OSError(number, "full") if number else ValueError

    writer = threading.Thread(target=write)
    writer.start()
    writer.join()
    log.close()
    assert ("Traceback" in capsys.readouterr().err) == traceback
