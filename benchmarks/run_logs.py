"""Time and memory of the tables and figures of training logs, for runs of the paper's true length.

Writes the log of a synthetic run (722,000 steps, as 128 epochs of Conceptual Captions with batches of 512) to
a temporary folder, copies it for other runs, writes result files of each run, and makes every table and
figure with the input `logs` in a process of its own: from compact logs (metrics.parquet), or with --lines
from the logs themselves (metrics.jsonl), as before compact logs. Also measures a restart, which truncates a
log to a checkpoint. To measure an older version of this project, run this script with its `src` on
PYTHONPATH, and with --lines before compact logs.
"""

import argparse
import itertools
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

STEPS, STEPS_PER_EPOCH, BATCH = 722_000, 5_641, 512
EPOCHS = (31, 127)  # of the result files; the log ends within the 128th
TEST_SETS = (
    *("birdsnap", "country211", "flowers102", "gtsrb"),
    *("ucf101", "stanford_cars", "imagenet", "imagenetv2"),
)
ACCURACIES = ("accuracy", "accuracy_top5", "mean_per_class_accuracy")
RECALLS = tuple(f"{way}_r{k}" for way in ("image_to_text", "text_to_image") for k in (1, 5, 10))
SIDES = ("image", "text")
STRUCTURE = tuple(f"{name}_{side}" for name in ("effective_eigenvalues", "ajne") for side in SIDES)
# Protocol -> the datasets and metrics of its results.
PROTOCOLS = {
    "zeroshot": (TEST_SETS, ACCURACIES),
    "linear_probe": (TEST_SETS, ACCURACIES),
    "retrieval": (("cc3m_validation",), RECALLS),
    "embedding_structure": (("cc3m_validation",), STRUCTURE),
}
# Table -> the protocols that it reads besides logs.
TABLES: dict[str, Sequence[str]] = {
    **dict.fromkeys(("throughput", "provenance"), ()),
    **{name: (name,) for name in PROTOCOLS},
    **dict.fromkeys(("claims", "ablation"), tuple(PROTOCOLS)),
}
FIGURES = ("throughput", "training_curves", "saturation")
MODEL_CONFIG = {"embed_dim": 1024, "vision_cfg": {"layers": [3, 4, 6, 3]}}
RESTART = (
    "import sys; from pathlib import Path; from cloob.train.metrics_log import MetricsLog; "
    f"MetricsLog(Path(sys.argv[1]), {BATCH} * {STEPS // 2})"
)

# A small process in between: the peak of a child includes the memory of its parent at the start.
MEASURE = (
    "import resource as r, subprocess, sys, time; start = time.perf_counter(); "
    "subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL); "
    "seconds = time.perf_counter() - start; used = r.getrusage(r.RUSAGE_CHILDREN); "
    "print(seconds, used.ru_utime + used.ru_stime, used.ru_maxrss)"
)


def start_event(number: int) -> dict[str, Any]:
    """The first event of a run; two runs each have the same seed."""
    objective, seed = ("clip", "cloob")[number % 2], 1 + number // 2
    run = {"corpus": "cc3m", "objective": objective, "architecture": "RN50", "recipe": "cc3m", "seed": seed}
    name = f"cc3m-{objective}-RN50-cc3m-seed{seed}"
    hashes = {"corpus_sha256": "c" * 64, "urls_sha256": "b" * 64, "commit": "a" * 40}
    device = {"processes": 4, "device": "NVIDIA H100 80GB HBM3", "torch": "2.15.0"}
    recipe = {"epochs": 128, "batch_size": BATCH}
    return {
        **{"event": "start", "samples_seen": 0, "restarts": 0, "run": {"name": name, **run}},
        **{"recipe": recipe, "model_config": MODEL_CONFIG, "pairs": BATCH * STEPS_PER_EPOCH},
        **hashes,
        **device,
    }


def write_log(path: Path, num_steps: int) -> None:
    """The log of a run with all keys of steps and validations, and numbers with all digits."""
    random = np.random.default_rng(1)
    with path.open("w", encoding="utf-8") as log:
        log.write(json.dumps(start_event(0)) + "\n")
        for step in range(1, num_steps + 1):
            data, batch = random.exponential(1e-4), 0.05 + random.exponential(1e-3)
            event = {
                **{"event": "step", "samples_seen": BATCH * step, "step": step, "steps": num_steps},
                **{"epoch": step / STEPS_PER_EPOCH, "loss": 6 * num_steps / (num_steps + 9 * step)},
                **{"learning_rate": 5e-4 * (1 + np.cos(np.pi * step / num_steps)) / 2, "replaced": 0},
                **{"inv_temperature": 30 + random.random(), "data_seconds": data},
                **{"batch_seconds": data + batch, "samples_per_second": BATCH / (data + batch)},
            }
            event["loss"] += 0.1 * random.random()
            log.write(json.dumps(event) + "\n")
            if step % STEPS_PER_EPOCH == 0:
                recalls = {key: random.random() for key in ("image_to_text_r1", "text_to_image_r1")}
                epoch = {"epoch": step // STEPS_PER_EPOCH, "samples": 12_000, "loss": 1.0, "saturation": 0.5}
                event = {"event": "validation", "samples_seen": BATCH * step, **epoch, **recalls}
                log.write(json.dumps(event) + "\n")


def measured(command: Sequence[object]) -> tuple[float, float, float]:
    """Seconds, CPU seconds and peak memory (MB) of a command of Python."""
    measure = [sys.executable, "-c", MEASURE, sys.executable, *map(str, command)]
    done = subprocess.run(measure, stdout=subprocess.PIPE, text=True, check=True)
    seconds, cpu, kilobytes = map(float, done.stdout.split())
    return seconds, cpu, kilobytes / 1024


def main() -> None:
    """Write logs, make their tables and figures, print a row for each."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=16, help="number of runs (default: 16; 250 MB each)")
    parser.add_argument("--steps", type=int, default=STEPS, help=f"steps of a run (default: {STEPS:,})")
    parser.add_argument("--lines", action="store_true", help="make them from the logs, not from compact logs")
    options = parser.parse_args()
    print("| what | runs | seconds | CPU s | MB at the peak |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder, "log", "metrics.jsonl")
        log.parent.mkdir()
        write_log(log, options.steps)
        measure_restart(log)
        logs = copies_of_lines(log, options.runs) if options.lines else compact_copies(log, options.runs)
        results = write_results(logs)
        for name, protocols in TABLES.items():
            files = [*logs, *(path for protocol in protocols for path in results[protocol])]
            csv = Path(folder, f"{name}.csv")
            command = ["-m", "cloob", "report", "table", name, "--results", *files, "--csv", csv]
            print_row(f"table {name}", options.runs, measured(command))
        for name in FIGURES:
            png = Path(folder, f"{name}.png")
            command = ["-m", "cloob", "report", "figure", name, "--results", *logs, "--png", png]
            print_row(f"figure {name}", options.runs, measured(command))


def measure_restart(log: Path) -> None:
    """Restart a run from a checkpoint in the middle; the second row is the start of a new run."""
    copy = log.with_name("copy.jsonl")
    copy.write_bytes(log.read_bytes())
    print_row("restart", 1, measured(["-c", RESTART, copy]))
    copy.unlink()
    print_row("start", 1, measured(["-c", RESTART, copy]))


def copies_of_lines(log: Path, runs: int) -> list[Path]:
    """The logs of several runs, with the same steps."""
    paths = run_paths(log.parents[1], runs, log.name)
    with log.open("rb") as file:
        file.readline()
        steps = file.read()
    for number, path in enumerate(paths):
        path.write_bytes(json.dumps(start_event(number)).encode() + b"\n" + steps)
    return paths


def compact_copies(log: Path, runs: int) -> list[Path]:
    """Compact the log, and change its start for the other runs."""
    from cloob.report.load.compact_logs import write_content
    from cloob.report.load.log_lines import LogContent, event_schemas, read_lines

    out = log.with_suffix(".parquet")
    cost = measured(["-m", "cloob", "report", "compact-log", "--log", log, "--out", out])
    sizes = f"{log.stat().st_size / 1e6:.0f} MB to {out.stat().st_size / 1e6:.0f} MB"
    print_row(f"compact-log, {sizes}", 1, cost)
    content = read_lines(log, event_schemas({}))
    paths = run_paths(log.parents[1], runs, out.name)
    for number, path in enumerate(paths):
        write_content(LogContent([(0, start_event(number)), *content.events[1:]], content.columns), path)
    return paths


def write_results(logs: Sequence[Path]) -> dict[str, list[Path]]:
    """The result files of every run, by protocol, with the keys that tables read."""
    random = np.random.default_rng(2)
    paths: dict[str, list[Path]] = {protocol: [] for protocol in PROTOCOLS}
    for number, log in enumerate(logs):
        for protocol, (datasets, metrics) in PROTOCOLS.items():
            for epoch, dataset in itertools.product(EPOCHS, datasets):
                path = log.parent / f"epoch_{epoch}" / protocol / f"{dataset}.json"
                values = {metric: random.random() for metric in metrics}
                content = {
                    **{"run": start_event(number)["run"], "epoch": epoch, "protocol": protocol},
                    **{"dataset": dataset, "title": dataset, "images": 1000, "chance": 0.01},
                    **{"metrics": values, "intervals": {name: [0.0, 1.0] for name in values}},
                }
                if protocol == "linear_probe":
                    content["probes"] = [{"features": "after_projection", "metrics": values}]
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(json.dumps(content), encoding="utf-8")
                paths[protocol].append(path)
    return paths


def run_paths(folder: Path, runs: int, name: str) -> list[Path]:
    """A file in the folder of every run."""
    paths = [folder / str(start_event(number)["run"]["name"]) / name for number in range(runs)]
    for path in paths:
        path.parent.mkdir()
    return paths


def print_row(what: str, runs: int, cost: tuple[float, float, float]) -> None:
    """A row of the table."""
    seconds, cpu, megabytes = cost
    print(f"| {what} | {runs} | {seconds:.1f} | {cpu:.1f} | {megabytes:,.0f} |", flush=True)


if __name__ == "__main__":
    main()
