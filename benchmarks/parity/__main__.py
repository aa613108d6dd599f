"""`python -m benchmarks.parity`: run both training codes, and print the tables of docs/fidelity.md."""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import torch
from tqdm import tqdm

from benchmarks.parity.cases import CASES, SETTINGS, Case, Setting
from benchmarks.parity.checkouts import AUTHORS, HOPFIELD, checked_commit
from benchmarks.parity.history import History
from benchmarks.parity.tables import conversion_table, evaluation_table, training_table
from benchmarks.parity.worker import Job, output
from cloob.common.errors import InputError, user_message

ROOT = Path(__file__).parents[2]
PARTS = ("training", "conversion", "evaluation")


def make_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.parity",
        description="Run the authors' training code (their own main_worker) and our training step on the "
        "same batches, load a checkpoint that their code saved, and compare evaluation functions. Prints "
        "Markdown tables; docs/fidelity.md explains them. The checkouts are only read.",
    )
    parser.add_argument("--authors", type=Path, required=True, help="checkout of ml-jku/cloob")
    parser.add_argument("--hopfield", type=Path, required=True, help="checkout of ml-jku/hopfield-layers")
    parser.add_argument("--any-commit", action="store_true", help="accept other commits and local changes")
    parser.add_argument("--steps", type=int, default=100, help="training steps (default: 100)")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS, help="default: all")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the tables; return the exit status."""
    parser = make_parser()
    options = parser.parse_args(arguments)
    if options.steps < 2:  # the learning rate of the first step is 0
        parser.error("--steps: give at least 2")
    try:
        commits = [
            checked_commit(repository, folder, options.any_commit)
            for repository, folder in ((AUTHORS, options.authors), (HOPFIELD, options.hopfield))
        ]
        with tempfile.TemporaryDirectory(prefix="cloob_parity_") as folder:
            authors, hopfield = (str(path.resolve()) for path in (options.authors, options.hopfield))
            job = Job("", authors, hopfield, folder, options.steps)
            versions = f"{AUTHORS.name} {commits[0]}, {HOPFIELD.name} {commits[1]}, torch {torch.__version__}"
            print(versions, flush=True)
            for table in _run(job, options.parts):
                print(f"\n{table}", flush=True)
    except (InputError, OSError) as error:
        print(f"parity: error: {user_message(error)}", file=sys.stderr)
        return 2
    return 0


def _run(job: Job, parts: Sequence[str]) -> Iterator[str]:
    """The tables of the parts; the progress bar is on the error output."""
    folder = Path(job.folder)
    total = ("training" in parts) * (len(SETTINGS) + len(CASES)) + ("conversion" in parts) * 2
    with tqdm(total=total + ("evaluation" in parts), unit="run", disable=None) as progress:
        if "training" in parts:
            groups = sorted({setting.processes for setting in SETTINGS})
            ranks = [(processes, rank) for processes in groups for rank in range(processes)]
            for kind in ("theirs", "ours"):
                jobs = [replace(job, kind=kind, processes=number, rank=rank) for number, rank in ranks]
                _start_and_wait(jobs, progress)
            runs: tuple[Setting | Case, ...] = (*SETTINGS, *CASES)
            yield training_table({run: History.load(output(folder, run)) for run in runs}, job.steps)
        if "conversion" in parts:
            for kind in ("checkpoint", "conversion"):
                _start_and_wait([replace(job, kind=kind)], progress)
            yield conversion_table(json.loads((folder / "conversion.json").read_text(encoding="utf-8")))
        if "evaluation" in parts:
            _start_and_wait([replace(job, kind="evaluation")], progress)
            yield evaluation_table(json.loads((folder / "evaluation.json").read_text(encoding="utf-8")))


def _start_and_wait(jobs: Sequence[Job], progress: tqdm) -> None:
    """Run processes at the same time. Raises `InputError` as soon as one fails."""
    progress.set_description(jobs[0].kind)
    folder, before = Path(jobs[0].folder), progress.n
    # One thread per process on the CPU: the sums of a parallel reduction would depend on the machine.
    environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(ROOT)}
    processes = {}
    try:
        for job in jobs:
            command = [sys.executable, "-m", "benchmarks.parity.worker", json.dumps(asdict(job))]
            with (folder / f"{job.name}.log").open("w") as log:
                process = subprocess.Popen(command, stdout=log, stderr=log, cwd=ROOT, env=environment)
            processes[job] = process
        while any(process.poll() is None for process in processes.values()):
            _raise_if_failed(processes)
            progress.update(before + len(list(folder.glob(f"{jobs[0].kind}-*.pt"))) - progress.n)
            time.sleep(0.2)
        _raise_if_failed(processes)
    finally:
        for process in processes.values():
            process.kill()
            process.wait()
    done = len(list(folder.glob(f"{jobs[0].kind}-*.pt"))) or 1
    progress.update(before + done - progress.n)
    for job in jobs:
        shutil.rmtree(folder / job.name)  # their checkpoints


def _raise_if_failed(processes: Mapping[Job, subprocess.Popen]) -> None:
    for job, process in processes.items():
        if process.returncode:
            log = (Path(job.folder) / f"{job.name}.log").read_text(encoding="utf-8", errors="replace")
            lines = log.strip().splitlines() or ["no message"]
            raise InputError(f"{job.name} ended with status {process.returncode}: {lines[-1]}")


if __name__ == "__main__":
    sys.exit(main())
