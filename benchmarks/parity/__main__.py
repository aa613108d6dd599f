"""`python -m benchmarks.parity`: run both training codes, and print the tables of docs/fidelity.md."""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import torch
from tqdm import tqdm

from benchmarks.parity.cases import CASES, SETTINGS, Case, Setting
from benchmarks.parity.checkouts import AUTHORS, HOPFIELD, checked_commit
from benchmarks.parity.history import History
from benchmarks.parity.tables import conversion_table, evaluation_table, training_table
from benchmarks.parity.worker import Job
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
    if options.steps < 1:
        parser.error("--steps: give at least 1")
    try:
        commits = [
            checked_commit(repository, folder, options.any_commit)
            for repository, folder in ((AUTHORS, options.authors), (HOPFIELD, options.hopfield))
        ]
        with tempfile.TemporaryDirectory(prefix="cloob_parity_") as folder:
            job = Job(
                "", str(options.authors.resolve()), str(options.hopfield.resolve()), folder, options.steps
            )
            print(
                f"ml-jku/cloob {commits[0]}, ml-jku/hopfield-layers {commits[1]}, torch {torch.__version__}"
            )
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
            histories: dict[Setting | Case, History] = {}
            for setting in SETTINGS:
                histories[setting] = _run_processes(
                    replace(job, kind="theirs", setting=_key(setting)), progress
                )
            for case in CASES:
                ours = replace(job, kind="ours", setting=_key(case.setting))
                ours = replace(ours, decay_temperature=case.decay_temperature, equal_eps=case.equal_eps)
                histories[case] = _run_processes(ours, progress)
            yield training_table(histories, job.steps)
        if "conversion" in parts:
            for kind in ("checkpoint", "conversion"):
                _start_and_wait([replace(job, kind=kind)], progress)
            yield conversion_table(json.loads((folder / "conversion.json").read_text(encoding="utf-8")))
        if "evaluation" in parts:
            _start_and_wait([replace(job, kind="evaluation")], progress)
            yield evaluation_table(json.loads((folder / "evaluation.json").read_text(encoding="utf-8")))


def _key(setting: Setting) -> tuple[str, int, str]:
    return setting.method, setting.processes, setting.precision


def _run_processes(job: Job, progress: tqdm) -> History:
    _start_and_wait([replace(job, rank=rank) for rank in range(job.case.setting.processes)], progress)
    return History.load(job.output)


def _start_and_wait(jobs: Sequence[Job], progress: tqdm) -> None:
    """Run the processes of one run; the work folder keeps only their results."""
    progress.set_description(
        f"{jobs[0].kind} {jobs[0].case.name if jobs[0].kind in ('theirs', 'ours') else ''}"
    )
    # One thread per process on the CPU: the sums of a parallel reduction would depend on the machine.
    environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(ROOT)}
    processes = []
    logs = [Path(job.folder) / f"{job.output.stem}-{job.rank}.log" for job in jobs]
    for job, log in zip(jobs, logs, strict=True):
        command = [sys.executable, "-m", "benchmarks.parity.worker", json.dumps(asdict(job))]
        with log.open("w") as output:
            processes.append(
                subprocess.Popen(command, stdout=output, stderr=output, cwd=ROOT, env=environment)
            )
    try:
        statuses = [process.wait() for process in processes]
    finally:
        for process in processes:
            process.kill()
    for job, log, status in zip(jobs, logs, statuses, strict=True):
        if status:
            lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines() or ["no message"]
            raise InputError(f"{job.output.stem}, process {job.rank}: exit status {status}: {lines[-1]}")
        shutil.rmtree(Path(job.folder) / f"{job.output.stem}-{job.rank}")
    progress.update()


if __name__ == "__main__":
    sys.exit(main())
