"""CPU time per training step of the demo's small model, with loading; checkouts are measured in turn.

Trains with the recipe of each checkout's `config/demo.yaml`, in one process with one thread. CPU time (user
and system) of the process is measured, not wall time, because the machine may be busy. A busy neighbor on the
same core still makes everything slower; therefore the checkouts take turns. Reported are the median over the
steps of a turn, the median over the turns, and a checksum of the weights, to see whether they are equal.
"""

import argparse
import hashlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

WARM_UP_STEPS = 10
PAIRS = 3_675  # of the corpus of noise that is written without --shards


def measure(checkout: Path, shards: Path, objective: str, steps: int) -> None:
    """Print the CPU seconds of each step and a checksum of the weights; imports the cloob of `checkout`."""
    import yaml

    from cloob.train import loop
    from cloob.train.distributed import init_distributed
    from cloob.train.recipe import Recipe, Run
    from cloob.train.setup import RunPaths, TrainOptions, set_up

    entry = yaml.safe_load((checkout / "config/demo.yaml").read_text(encoding="utf-8"))["recipes"][
        "cc3m_small"
    ]
    values = entry | entry["objectives"][objective] | {"micro_batch_size": entry["batch_size"]}
    recipe = Recipe(**{name: values[name] for name in Recipe.__dataclass_fields__ if name in values})
    run = Run("cc3m", objective, "RN_small", "cc3m_small", 1)
    architecture = str(checkout / "config/architectures/RN_small.json")
    with tempfile.TemporaryDirectory() as folder, init_distributed() as context:
        paths = RunPaths(shards, shards, Path(folder))
        training = set_up(run, recipe, architecture, paths, context, TrainOptions())
        seconds = []
        for _ in range(WARM_UP_STEPS + steps):
            start = time.process_time()
            if hasattr(loop, "_submit_step"):
                from cloob.train.signals import StopRequest

                loop._submit_step(training, next(training.micro_batches), 0.0, StopRequest()).numbers.read()
            else:  # up to caf285a
                loop._train_one_step(training, next(training.micro_batches), 0.0)
            seconds.append(time.process_time() - start)
        checksum = hashlib.sha256()
        for weight in training.model.state_dict().values():
            checksum.update(weight.contiguous().numpy().tobytes())
    print(json.dumps({"seconds": seconds[WARM_UP_STEPS:], "weights": checksum.hexdigest()[:16]}))


def write_noise(folder: Path) -> Path:
    """Write a corpus of captioned noise; returns its shards.json."""
    from step_launches import write_shards  # not where a checkout is measured: it imports another cloob

    return write_shards(folder, PAIRS)


def turn(checkout: Path, arguments: list[str]) -> tuple[float, str]:
    """Measure a checkout in a new process: the median of the CPU seconds per step, and the checksum."""
    environment = os.environ | {"PYTHONPATH": str(checkout / "src"), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, __file__, *arguments, f"--measure={checkout}"]
    output = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    result = json.loads(output.splitlines()[-1])
    return statistics.median(result["seconds"]), result["weights"]


def main() -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shards", type=Path, help=f"shards.json (default: {PAIRS:,} pairs of noise)")
    parser.add_argument("--checkout", type=Path, action="append", help="its folder; the default is .")
    parser.add_argument("--objective", default="cloob", help="objective of the recipe")
    parser.add_argument("--steps", type=int, default=100, help="steps per turn")
    parser.add_argument("--turns", type=int, default=3, help="turns per checkout")
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        measure(options.measure, options.shards, options.objective, options.steps)
        return
    checkouts = [path.resolve() for path in options.checkout or [Path()]]
    results: dict[Path, list[tuple[float, str]]] = {checkout: [] for checkout in checkouts}
    with tempfile.TemporaryDirectory() as folder:
        shards = options.shards.resolve() if options.shards else write_noise(Path(folder))
        arguments = [f"--shards={shards}", f"--objective={options.objective}", f"--steps={options.steps}"]
        for _ in range(options.turns):
            for checkout in checkouts:
                results[checkout].append(turn(checkout, arguments))
    print("| checkout | CPU ms per step: median | turns | of the first | weights |\n|---|---|---|---|---|")
    medians = {checkout: statistics.median(s for s, _ in values) for checkout, values in results.items()}
    for checkout, values in results.items():
        turns = ", ".join(f"{1000 * seconds:.1f}" for seconds, _ in values)
        ratio = medians[checkout] / medians[checkouts[0]]
        [weights] = {weights for _, weights in values}
        print(f"| {checkout.name} | {1000 * medians[checkout]:.1f} | {turns} | {ratio:.2f} | {weights} |")


if __name__ == "__main__":
    main()
