"""Packing that is killed any number of times resumes and produces the same files as an undisturbed run."""

import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cloob.cli import main
from cloob.common.json_files import read_json
from tests.helpers.downloaded_parts import write_download
from tests.helpers.killed_packing import pack_with_kill_at_every_rename
from tests.helpers.packing import file_contents, pack_download
from tests.helpers.sample_images import encode_image, jpeg, noise_image

Download = tuple[list[Path], Path]


def test_run_killed_at_any_rename_resumes_to_identical_files(tmp_path: Path) -> None:
    rows = [(f"image {number}", jpeg(number)) for number in range(25)]
    rows += [("png", encode_image(noise_image(99), "PNG")), ("not an image", b"<html>"), ("gone", "http_404")]
    download = write_download(tmp_path / "download", rows)
    reference = file_contents(pack_download(download, tmp_path / "reference").parent)
    out = tmp_path / "shards"
    assert pack_with_kill_at_every_rename(download, out) > 6
    assert file_contents(out) == reference


def pack_arguments(download: Download, out: Path, processes: int = 2) -> list[str]:
    ledgers, urls = download
    flags = f"--urls {urls} --out {out} --outcomes {out}/outcomes.csv --samples-per-shard 150 --seed 1"
    flags += f" --max-bytes 1000000 --max-pixels 1000000 --quality 95 --processes {processes}"
    return ["shards", "pack", "--ledgers", *map(str, ledgers), *flags.split()]


def run_timed(arguments: list[str]) -> float:
    started = time.monotonic()
    done = subprocess.run([sys.executable, "-m", "cloob", *arguments], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    return time.monotonic() - started


@pytest.mark.slow
def test_ten_kills_at_random_times_do_not_change_the_output(tmp_path: Path) -> None:
    rows = [(f"image {number}", jpeg(number, width=640, height=480)) for number in range(1500)]
    download = write_download(tmp_path / "download", rows, parts=6)
    reference, out = tmp_path / "reference", tmp_path / "shards"
    seconds = run_timed(pack_arguments(download, reference))
    rng, kills = random.Random(1), 0
    while kills < 10:
        # Later runs get more time, so that each one makes progress.
        command = [sys.executable, "-m", "cloob", *pack_arguments(download, out)]
        run = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            run.wait(rng.uniform(0.3, 1) * seconds * (kills + 1) / 10)
        except subprocess.TimeoutExpired:
            kills += 1
            run.kill()
            run.wait()
            continue
        assert run.returncode == 0
        (out / "shards.json").unlink()  # finished before the kill: delete some output and run again
        (out / "000003.parquet").unlink()
    run_timed(pack_arguments(download, out))
    assert file_contents(out) == file_contents(reference)


def test_second_process_in_the_same_output_folder_is_rejected(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    download = write_download(tmp_path / "download", [("one", jpeg(1))], parts=1)
    out = tmp_path / "shards"
    (out / "work").mkdir(parents=True)
    holder = subprocess.Popen(
        [sys.executable, "-c", f"import fcntl,sys; f=open({str(out / 'work' / 'lock')!r}, 'w'); "
         "fcntl.lockf(f, fcntl.LOCK_EX); print(flush=True); sys.stdin.read()"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert holder.stdout and holder.stdout.readline()
    with pytest.raises(SystemExit) as exited:
        main(pack_arguments(download, out, processes=1))
    holder.communicate()
    assert exited.value.code == 2 and "in use by another process" in capsys.readouterr().err
    with pytest.raises(SystemExit) as exited:
        main(pack_arguments(download, out, processes=1))
    assert exited.value.code == 0 and read_json(out / "shards.json")["samples"] == 1
