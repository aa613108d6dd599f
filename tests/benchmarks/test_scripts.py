"""Every script of `make bench` starts without arguments; what lacks a program or a right is skipped."""

import io
import os
import re
import runpy
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import redirect_stdout
from multiprocessing import get_context
from pathlib import Path

import pytest

from tests.helpers import forked  # noqa: F401 # prepares the fork server, which has imported torch
from tests.helpers.repository import ROOT

FOLDER = ROOT / "benchmarks"
SCRIPTS = sorted(path.name for path in FOLDER.glob("*.py"))
WITHOUT_ARGUMENTS = {"clip_benchmark_run.py", "yfcc_files.py", "yfcc_peers.py"}  # called by other scripts


def run(name: str, arguments: Sequence[str] = (), variables: Mapping[str, str] | None = None) -> str:
    """What a script prints; raises its error."""
    os.environ.update(variables or {})
    sys.path.insert(0, str(FOLDER))
    sys.argv, output = [name, *arguments], io.StringIO()
    try:
        with redirect_stdout(output):
            runpy.run_path(str(FOLDER / name), run_name="__main__")
    except SystemExit as end:
        assert not end.code, f"{name}: {end.code}"
    return output.getvalue()


def run_all(arguments: Sequence[str]) -> dict[str, str]:
    """What each script prints, in one process, or its error."""
    import torch

    outputs = {}
    for name in SCRIPTS:
        try:
            outputs[name] = run(name, arguments)
        except Exception as error:
            outputs[name] = f"failed: {type(error).__name__}: {error}"
        sys.modules["torch"] = torch  # one of them hides it
    return outputs


@pytest.fixture
def process() -> Iterator[ProcessPoolExecutor]:
    """A process of its own, because scripts replace functions and import each other by their bare names."""
    with ProcessPoolExecutor(1, get_context("forkserver")) as pool:
        yield pool


def test_every_script_answers_help_and_requires_no_argument(process: ProcessPoolExecutor) -> None:
    outputs = process.submit(run_all, ["--help"]).result()
    assert [output for output in outputs.values() if output.startswith("failed")] == []
    for name in outputs.keys() - WITHOUT_ARGUMENTS:
        usage, optional = outputs[name].partition("\n\n")[0], 1
        while optional:
            usage, optional = re.subn(r"\[[^][]*\]", "", usage)
        assert usage.split() == ["usage:", name], outputs[name]


def test_the_training_process_is_measured_by_part(process: ProcessPoolExecutor) -> None:
    sizes = ["--steps=1", "--workers=0", "--micro-batches=1", "--micro-batch-size=4"]
    output = process.submit(run, "main_process.py", sizes).result()
    for part in ("receiving batches", "numbers of a step", "log and TensorBoard", "main thread, all"):
        assert re.search(rf"^\| {part} \| \d+\.\d\d \|$", output, flags=re.MULTILINE), output


@pytest.mark.parametrize(
    ("programs", "reason"),
    [
        ([], "unshare is missing; install util-linux and iproute2"),
        (["unshare", "ip", "tc"], "unshare: not permitted; run it as root, or allow user namespaces"),
    ],
)
def test_a_script_that_lacks_a_program_or_a_right_says_so_in_one_line(
    process: ProcessPoolExecutor, tmp_path: Path, programs: list[str], reason: str
) -> None:
    for name in programs:
        (tmp_path / name).write_text("#!/bin/sh\necho unshare: not permitted >&2\nexit 1\n")
        (tmp_path / name).chmod(0o755)
    output = process.submit(run, "gradient_overlap.py", [], {"PATH": str(tmp_path)}).result()
    assert output == f"gradient_overlap.py: skipped: {reason}\n"
