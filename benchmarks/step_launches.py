"""What one training step asks of the device and of the network, counted by PyTorch's profiler on CPUs.

Trains a model with `cloob.train.loop` for some steps in one or two gloo processes.
Counted per step: operations that would launch a kernel on a GPU (no views, no allocations; nested ones too);
launches for BatchNorm's running statistics (outermost operations only); tensor values that the host reads;
collectives, without and with the all-reduces of the slices of the gradient, which overlap with the backward
pass. `tests/train/test_step_launches.py` asserts limits for all but the operations.
"""

import argparse
import io
import tempfile
from collections.abc import Callable
from contextlib import redirect_stdout
from functools import wraps
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.distributed as dist
import yaml
from PIL import Image
from torch import Tensor
from torch.autograd.profiler_util import FunctionEvent
from torch.multiprocessing import start_processes
from torch.nn.modules.batchnorm import _BatchNorm
from torch.profiler import ProfilerActivity, profile, record_function

from cloob.common.json_files import read_json, write_json
from cloob.shards.writer import Sample, write_shard
from cloob.train.batchnorm import BatchNormStatistics
from cloob.train.distributed import DistributedContext
from cloob.train.loop import train
from cloob.train.recipe import Recipe, Run
from cloob.train.setup import RunPaths, TrainOptions
from cloob.train.signals import StopRequest

ROOT = Path(__file__).parents[1]
ARCHITECTURE = str(ROOT / "config" / "architectures" / "RN_small.json")
FIRST, STEPS = 3, 2  # the steps that are counted
READS = ("item", "tolist", "__float__", "__bool__", "__int__")
# Operations that launch no kernel.
NO_KERNEL = {
    *("view", "as_strided", "empty", "empty_like", "empty_strided", "detach", "resolve_conj", "resolve_neg"),
    *("transpose", "permute", "slice", "select", "expand", "unsqueeze", "squeeze", "split", "alias", "t"),
    *("_local_scalar_dense", "diagonal", "lift_fresh", "is_nonzero", "unbind", "numpy_T", "chunk", "narrow"),
    *("_reshape_alias", "_unsafe_view", "set_", "result_type", "detach_", "unflatten", "is_pinned", "to"),
    *("reshape", "contiguous", "flatten", "item", "split_with_sizes", "view_as", "expand_as"),
}


# Marks the calls that BatchNorm's statistics need, and the one of them that a GPU does in one kernel.
STATISTICS, NORMALIZATION = "BatchNorm statistics", "aten::batch_norm"


class StepCounts(NamedTuple):
    """Counts per step."""

    operations: float
    """Operations that would launch a kernel, nested ones included."""
    statistics_launches: float
    """Kernels for BatchNorm's running statistics, besides those of the normalization itself."""
    reads: float
    """Tensor values that the host reads."""
    collectives: float
    """Collectives other than `slices`."""
    slices: float
    """All-reduces of slices of the gradient."""


class StepCounter(StopRequest):
    """Counts the work between two of the questions whether to stop, of which the loop asks one per step.

    Only one can be used per process, because it replaces functions of torch.
    """

    def __init__(self) -> None:
        self.asked, self.reads, self.slices = 0, 0, 0
        self.profile = profile(activities=[ProfilerActivity.CPU])
        for name in READS:
            setattr(Tensor, name, self._counted_read(getattr(Tensor, name)))
        dist.all_reduce = self._counted_slice(dist.all_reduce)
        _BatchNorm.forward = record_function(STATISTICS)(_BatchNorm.forward)
        for name in ("start_step", "add_micro_batch", "finish_step"):
            method = record_function(STATISTICS)(getattr(BatchNormStatistics, name))
            setattr(BatchNormStatistics, name, method)

    @property
    def requested(self) -> bool:  # type: ignore[override]
        self.asked += 1
        if self.asked == FIRST:
            self.reads, self.slices = 0, 0
            self.profile.__enter__()
        if self.asked == FIRST + STEPS:
            self._counted = self.reads, self.slices
            self.profile.__exit__(None, None, None)
        return self.asked > FIRST + STEPS

    def counts(self) -> StepCounts:
        """The counts of a finished run."""
        reads, slices = self._counted
        events = list(self.profile.events())
        operations = [event for event in events if _launches(event)]
        launches = sum(_is_for_statistics(event) for event in operations)
        collectives = sum(event.name.startswith("c10d::") for event in events) - slices
        counts = (len(operations), launches, reads, collectives, slices)
        return StepCounts(*(count / STEPS for count in counts))

    def _counted_read(self, original: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(original)
        def read(tensor: Tensor, *arguments: Any) -> Any:
            self.reads += 1
            return original(tensor, *arguments)

        return read

    def _counted_slice(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """Of all all-reduces, only those of the gradient do not wait."""

        @wraps(original)
        def all_reduce(*arguments: Any, async_op: bool = False, **options: Any) -> Any:
            self.slices += async_op
            return original(*arguments, async_op=async_op, **options)

        return all_reduce


def _launches(event: FunctionEvent) -> bool:
    return event.name.startswith("aten::") and event.name.removeprefix("aten::") not in NO_KERNEL


def _is_for_statistics(event: FunctionEvent) -> bool:
    """Whether an operation is an outermost one within a marked call, other than the normalization."""
    if event.name == NORMALIZATION:
        return False
    parent = event.cpu_parent
    while parent is not None and parent.name != STATISTICS:
        if _launches(parent):
            return False
        parent = parent.cpu_parent
    return parent is not None


def write_shards(folder: Path, pairs: int) -> Path:
    """A corpus of captioned noise."""
    generator = np.random.default_rng(0)
    samples = []
    for number in range(pairs):
        buffer = io.BytesIO()
        Image.fromarray(generator.integers(0, 255, (80, 80, 3), dtype=np.uint8)).save(buffer, "JPEG")
        content = buffer.getvalue()
        name = f"{number:06d}"
        samples.append(Sample(name, content, f"photo {number}", sha256(content).hexdigest(), 80, 80))
    shard = write_shard(folder / "000000.tar", samples)
    write_json(folder / "shards.json", {"samples": pairs, "bytes": 0, "sha256": "0" * 64, "shards": [shard]})
    return folder / "shards.json"


def count(
    rank: int, processes: int, objective: str, micro_batches: int, architecture: str, folder: str
) -> None:
    """Train in one process of a group; the first one writes its `StepCounts` to `counts.json`."""
    torch.set_num_threads(1)
    store = dist.FileStore(f"{folder}/store", processes)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=processes)
    context = DistributedContext(rank, processes, torch.device("cpu"), rank, processes)
    entry = yaml.safe_load((ROOT / "config" / "config.yaml").read_text(encoding="utf-8"))["recipes"]["cc3m"]
    values = entry | entry["objectives"][objective]
    values |= {"batch_size": 4 * processes * micro_batches, "micro_batch_size": 4, "precision": "bfloat16"}
    values |= {"warmup_steps": 0, "learning_rate": 1e-6}  # the run is shorter than the warm-up of the recipe
    recipe = Recipe(**{name: values[name] for name in Recipe.__dataclass_fields__ if name in values})
    counter = StepCounter()
    paths = RunPaths(Path(folder) / "shards.json", Path(folder) / "shards.json", Path(folder) / "run")
    with redirect_stdout(io.StringIO()):
        run = Run("noise", objective, "RN_small", "cc3m", 1)
        train(run, recipe, architecture, paths, context, counter, TrainOptions())
    dist.destroy_process_group()
    if rank == 0:
        write_json(Path(folder) / "counts.json", counter.counts()._asdict())


def count_step(
    objective: str,
    processes: int,
    micro_batches: int,
    architecture: str = ARCHITECTURE,
    start_method: str = "spawn",
) -> StepCounts:
    """The counts of a step with so many processes and micro-batches of each."""
    with tempfile.TemporaryDirectory() as folder:
        write_shards(Path(folder), 8 * 4 * processes * micro_batches)
        arguments = processes, objective, micro_batches, architecture, folder
        start_processes(count, arguments, nprocs=processes, start_method=start_method)
        return StepCounts(**read_json(Path(folder) / "counts.json"))


def main() -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--objectives", nargs="+", default=["clip", "cloob"])
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--micro-batches", type=int, default=2, help="micro-batches of each process")
    options = parser.parse_args()
    print(
        "| objective | processes | micro-batches | operations | for statistics | reads | collectives "
        "| with the slices of the gradient |\n"
        "|---|---|---|---|---|---|---|---|"
    )
    for objective in options.objectives:
        for processes in options.processes:
            *counts, slices = count_step(objective, processes, options.micro_batches)
            cells = [objective, processes, options.micro_batches]
            cells += [f"{value:,.1f}" for value in (*counts, counts[-1] + slices)]
            print(f"| {' | '.join(map(str, cells))} |", flush=True)


if __name__ == "__main__":
    main()
