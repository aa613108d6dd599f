"""Packing that is killed, at any moment and as often as you like, ends as if it had not been."""

import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from cloob.cli import main
from cloob.common.json_files import read_json
from tests.helpers.downloaded_parts import leave_download
from tests.helpers.packing import files_of, pack_download
from tests.helpers.sample_images import encoded, jpeg, noise

Download = tuple[list[Path], Path]


def pack_until_rename(download: Download, out: Path, number: int, more: dict[str, Any]) -> None:
    """Pack, and be killed in place of the so-manieth renaming to a final name (1-based)."""
    renamed, rename = 0, Path.replace

    def replace(path: Path, target: Path) -> Path:
        nonlocal renamed
        renamed += 1
        if renamed == number:
            os.kill(os.getpid(), signal.SIGKILL)
        return rename(path, target)

    Path.replace = replace  # type: ignore[assignment,method-assign]
    pack_download(download, out, **more)


def pack_until_killed_often(download: Download, out: Path, **more: Any) -> int:
    """Pack, killed before each renaming in turn, until a run ends; return how many runs it took."""
    fork = multiprocessing.get_context("fork")
    for number in range(1, 100):
        run = fork.Process(target=pack_until_rename, args=(download, out, number, more))
        run.start()
        run.join()
        if run.exitcode == 0:
            return number
        assert run.exitcode == -signal.SIGKILL and not (out / "shards.json").exists()
    raise AssertionError("never done")


def test_killed_before_any_renaming_the_next_run_goes_on(tmp_path: Path) -> None:
    rows = [(f"picture {number}", jpeg(number)) for number in range(25)]
    rows += [("png", encoded(noise(99), "PNG")), ("rubbish", b"<html>"), ("gone", "http_404")]
    download = leave_download(tmp_path / "download", rows)
    undisturbed = files_of(pack_download(download, tmp_path / "undisturbed").parent)
    out = tmp_path / "shards"
    assert pack_until_killed_often(download, out) > 6
    assert files_of(out) == undisturbed


def arguments_of(download: Download, out: Path, processes: int = 2) -> list[str]:
    ledgers, links = download
    flags = f"--urls {links} --out {out} --outcomes {out}/outcomes.csv --samples-per-shard 150 --seed 1"
    flags += f" --max-bytes 1000000 --max-pixels 1000000 --quality 95 --processes {processes}"
    return ["shards", "pack", "--ledgers", *map(str, ledgers), *flags.split()]


def seconds_of_packing(arguments: list[str]) -> float:
    started = time.monotonic()
    done = subprocess.run([sys.executable, "-m", "cloob", *arguments], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    return time.monotonic() - started


@pytest.mark.slow
def test_ten_kills_at_random_moments_change_nothing(tmp_path: Path) -> None:
    rows = [(f"picture {number}", jpeg(number, width=640, height=480)) for number in range(1500)]
    download = leave_download(tmp_path / "download", rows, parts=6)
    undisturbed, out = tmp_path / "undisturbed", tmp_path / "shards"
    seconds = seconds_of_packing(arguments_of(download, undisturbed))
    rng, kills = random.Random(1), 0
    while kills < 10:
        # Each run gets further than the one before it, whatever was kept.
        command = [sys.executable, "-m", "cloob", *arguments_of(download, out)]
        run = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            run.wait(rng.uniform(0.3, 1) * seconds * (kills + 1) / 10)
        except subprocess.TimeoutExpired:
            kills += 1
            run.kill()
            run.wait()
            continue
        assert run.returncode == 0
        (out / "shards.json").unlink()  # it was faster than the clock: once more, on what is there
        (out / "000003.parquet").unlink()
    seconds_of_packing(arguments_of(download, out))
    assert files_of(out) == files_of(undisturbed)


def test_two_at_once_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    download = leave_download(tmp_path / "download", [("one", jpeg(1))], parts=1)
    out = tmp_path / "shards"
    (out / "work").mkdir(parents=True)
    holder = subprocess.Popen(
        [sys.executable, "-c", f"import fcntl,sys; f=open({str(out / 'work' / 'lock')!r}, 'w'); "
         "fcntl.lockf(f, fcntl.LOCK_EX); print(flush=True); sys.stdin.read()"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert holder.stdout and holder.stdout.readline()
    with pytest.raises(SystemExit) as ended:
        main(arguments_of(download, out, processes=1))
    holder.communicate()
    assert ended.value.code == 2 and "in use by another process" in capsys.readouterr().err
    with pytest.raises(SystemExit) as ended:
        main(arguments_of(download, out, processes=1))
    assert ended.value.code == 0 and read_json(out / "shards.json")["samples"] == 1
