"""What one training step asks of the device and of the network, counted by PyTorch's profiler on CPUs.

Trains RN_small with `cloob.train.loop` for some steps in one or two gloo processes.
Counted per step: operations that would launch a kernel on a GPU (no views, no allocations); those of them of
three kinds that BatchNorm's statistics consist of; tensor values that the host reads; collectives, without
and with the all-reduces of the slices of the gradient, which overlap with the backward pass.
"""

import argparse
import io
import tempfile
from collections import Counter
from contextlib import redirect_stdout
from hashlib import sha256
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
import yaml
from PIL import Image
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from cloob.common.json_files import write_json
from cloob.shards.writer import Sample, write_shard
from cloob.train.distributed import DistributedContext
from cloob.train.loop import train
from cloob.train.recipe import Recipe, Run
from cloob.train.setup import RunPaths, TrainOptions
from cloob.train.signals import StopRequest

ROOT = Path(__file__).parents[1]
ARCHITECTURE = ROOT / "config" / "architectures" / "RN_small.json"
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


class StepCounter(StopRequest):
    """Counts the work between two of the questions whether to stop, of which the loop asks one per step."""

    def __init__(self) -> None:
        self.asked, self.reads, self.slices = 0, 0, 0
        self.profile = profile(activities=[ProfilerActivity.CPU])

    @property
    def requested(self) -> bool:  # type: ignore[override]
        self.asked += 1
        if self.asked == FIRST:
            self.reads, self.slices = 0, 0
            self.profile.__enter__()
        if self.asked == FIRST + STEPS:
            self.counted_reads, self.counted_slices = self.reads, self.slices
            self.profile.__exit__(None, None, None)
        return self.asked > FIRST + STEPS

    def count_reads(self) -> None:
        """Count from now on every read of a tensor's value by the host."""
        for name in READS:
            original = getattr(Tensor, name)

            def read(tensor: Tensor, *arguments: object, original=original) -> object:
                self.reads += 1
                return original(tensor, *arguments)

            setattr(Tensor, name, read)

    def count_slices(self) -> None:
        """Count from now on every all-reduce that does not wait: those of the gradient."""
        original = dist.all_reduce

        def all_reduce(*arguments: object, async_op: bool = False, **options: object) -> object:
            self.slices += async_op
            return original(*arguments, async_op=async_op, **options)

        dist.all_reduce = all_reduce


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


def count(rank: int, processes: int, objective: str, micro_batches: int, folder: str) -> None:
    """Train in one process of a group, and print the counts of the first."""
    torch.set_num_threads(1)
    store = dist.FileStore(f"{folder}/store", processes)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=processes)
    context = DistributedContext(rank, processes, torch.device("cpu"), rank, processes)
    entry = yaml.safe_load((ROOT / "config" / "config.yaml").read_text(encoding="utf-8"))["recipes"]["cc3m"]
    values = entry | entry["objectives"][objective]
    values |= {"batch_size": 4 * processes * micro_batches, "micro_batch_size": 4, "precision": "bfloat16"}
    recipe = Recipe(**{name: values[name] for name in Recipe.__dataclass_fields__ if name in values})
    counter = StepCounter()
    counter.count_reads()
    counter.count_slices()
    paths = RunPaths(Path(folder) / "shards.json", Path(folder) / "shards.json", Path(folder) / "run")
    with redirect_stdout(io.StringIO()):
        run = Run("noise", objective, "RN_small", "cc3m", 1)
        train(run, recipe, str(ARCHITECTURE), paths, context, counter, TrainOptions())
    dist.destroy_process_group()
    if rank:
        return
    names = Counter(event.name for event in counter.profile.events())
    collectives = sum(n for name, n in names.items() if name.startswith("c10d::"))
    kernels = sum(
        n
        for name, n in names.items()
        if name.startswith("aten::") and name.removeprefix("aten::") not in NO_KERNEL
    )
    small = names["aten::add_"] + names["aten::lerp"] + names["aten::clone"]
    others = collectives - counter.counted_slices
    row = (objective, processes, micro_batches, kernels, small, counter.counted_reads, others, collectives)
    print(
        "| " + " | ".join(str(x) if n < 3 else f"{x / STEPS:,.1f}" for n, x in enumerate(row)) + " |",
        flush=True,
    )


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
        "| objective | processes | micro-batches | operations | add_, lerp, clone | reads | collectives "
        "| with the slices of the gradient |\n"
        "|---|---|---|---|---|---|---|---|"
    )
    for objective in options.objectives:
        for processes in options.processes:
            with tempfile.TemporaryDirectory() as folder:
                write_shards(Path(folder), 8 * 4 * processes * options.micro_batches)
                arguments = processes, objective, options.micro_batches, folder
                torch.multiprocessing.spawn(count, arguments, nprocs=processes)


if __name__ == "__main__":
    main()
