"""CPU time that the training process itself needs per step, outside the training step.

Runs `cloob.train.loop` with loader workers and batches of the paper's shape. The training step does nothing
and returns a constant loss, so what remains is the loop: receiving batches, reading the numbers of a step,
checks, the log with TensorBoard, progress, and Python's garbage collector. CPU time does not depend on other
programs on the machine; without a GPU, batches are not copied to pinned memory.
"""

import argparse
import gc
import io
import json
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import yaml
from step_launches import ARCHITECTURE, ROOT, write_shards

from cloob.train import loop
from cloob.train.distributed import init_distributed
from cloob.train.metrics_log import MetricsLog
from cloob.train.progress import Progress
from cloob.train.recipe import Recipe, Run
from cloob.train.setup import RunPaths, Training, TrainOptions
from cloob.train.signals import StopRequest
from cloob.train.step import TrainStep
from cloob.train.submitted_step import NumbersOnTheirWay

WARMUP = 2  # steps


class Stopwatch(StopRequest):
    """CPU time of the main thread by part, and of the process, from the end of the warm-up on."""

    def __init__(self, steps: int) -> None:
        self.steps, self.asked = steps, 0
        self.seconds: dict[str, float] = defaultdict(float)

    @property
    def requested(self) -> bool:  # type: ignore[override]
        self.asked += 1
        if self.asked == WARMUP:
            self.seconds.clear()
            self._start = time.thread_time(), time.process_time()
        if self.asked == WARMUP + self.steps:
            main, process = (
                end - start
                for end, start in zip((time.thread_time(), time.process_time()), self._start, strict=True)
            )
            self.main, self.others = main, process - main
        return self.asked >= WARMUP + self.steps

    def timed(self, part: str, function: Callable) -> Callable:
        """The function, with its time added to a part."""

        def wrapper(*arguments: Any, **options: Any) -> Any:
            start = time.thread_time()
            try:
                return function(*arguments, **options)
            finally:
                self.seconds[part] += time.thread_time() - start

        return wrapper

    def count_collections(self, phase: str, _: dict[str, int]) -> None:
        """Callback of the garbage collector; its time is also part of the others."""
        self.seconds["garbage collector"] += time.thread_time() * (1 if phase == "stop" else -1)


def main() -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=10, help="timed steps")
    parser.add_argument("--workers", type=int, default=2, help="loader workers")
    parser.add_argument("--micro-batches", type=int, default=4)
    parser.add_argument("--micro-batch-size", type=int, default=128)
    options = parser.parse_args()
    torch.set_num_threads(1)
    stopwatch = Stopwatch(options.steps)
    set_up = loop.set_up

    def set_up_timed(*arguments: Any) -> Training:
        training = set_up(*arguments)
        receive = stopwatch.timed("receiving batches", lambda: next(training.micro_batches))
        return replace(training, micro_batches=iter(receive, None))

    loss = torch.tensor(3.0)
    loop.set_up = set_up_timed
    TrainStep.__call__ = lambda *_: loss  # type: ignore[method-assign]
    for owner, name, part in (
        (NumbersOnTheirWay, "__init__", "numbers of a step"),
        (NumbersOnTheirWay, "read", "numbers of a step"),
        (MetricsLog, "write", "log and TensorBoard"),
        (Progress, "update", "progress"),
    ):
        setattr(owner, name, stopwatch.timed(part, getattr(owner, name)))
    gc.callbacks.append(stopwatch.count_collections)
    with tempfile.TemporaryDirectory() as name, init_distributed() as context:
        folder = Path(name)
        batch_size = options.micro_batches * options.micro_batch_size
        write_shards(folder, batch_size * (WARMUP + options.steps + 1))
        config = json.loads(Path(ARCHITECTURE).read_text(encoding="utf-8"))
        config["vision_cfg"]["image_size"] = 224
        (folder / "model.json").write_text(json.dumps(config), encoding="utf-8")
        entry = yaml.safe_load((ROOT / "config" / "config.yaml").read_text(encoding="utf-8"))
        values = entry["recipes"]["cc3m"] | entry["recipes"]["cc3m"]["objectives"]["cloob"]
        values |= {"batch_size": batch_size, "micro_batch_size": options.micro_batch_size, "warmup_steps": 0}
        recipe = Recipe(**{key: values[key] for key in Recipe.__dataclass_fields__ if key in values})
        paths = RunPaths(folder / "shards.json", folder / "shards.json", folder / "run")
        run = Run("noise", "cloob", "RN_small", "cc3m", 1)
        with redirect_stdout(io.StringIO()):
            train_options = TrainOptions(workers=options.workers)
            loop.train(run, recipe, str(folder / "model.json"), paths, context, stopwatch, train_options)
    print(
        f"{options.micro_batches} micro-batches of {options.micro_batch_size} images of 224 pixels, "
        f"{options.workers} workers, {options.steps} steps, torch {torch.__version__}\n\n"
        "| part | CPU ms per step |\n|---|---|"
    )
    parts = dict(stopwatch.seconds) | {"main thread, all": stopwatch.main, "other threads": stopwatch.others}
    for part, seconds in parts.items():
        print(f"| {part} | {1e3 * seconds / options.steps:.2f} |")


if __name__ == "__main__":
    main()
