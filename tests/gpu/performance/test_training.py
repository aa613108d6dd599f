"""The loader feeds a real run: throughput and waiting per number of workers, and the work of a step."""

import json
import math
import time
from dataclasses import asdict
from itertools import islice
from pathlib import Path

import pytest
import torch

from cloob.common.data_loading import kill_workers_on_exit
from cloob.models.config import model_config
from cloob.models.tokenizer import tokenizer_for
from cloob.shards.reader import Shards
from cloob.train.augmentation import RandomResizedCrop
from cloob.train.data import PairDataset, training_loader
from cloob.train.distributed import DistributedContext
from cloob.train.loop import train
from cloob.train.order import BatchOrder
from cloob.train.recipe import Recipe, Run
from cloob.train.setup import RunPaths, TrainOptions
from tests.gpu.conftest import ON_CPU
from tests.gpu.performance.conftest import SMALL_SIZE, TRUE_SIZE, Size
from tests.gpu.performance.photos import write_photo_shards
from tests.gpu.performance.step_probe import CountedSynchronizations, CountedWork, StepProbe
from tests.gpu.performance.workload import cc3m_recipe
from tests.gpu.results import record
from tests.helpers.captioned_shards import shards_of
from tests.helpers.training_runs import run_train

SIZES = SMALL_SIZE if ON_CPU else TRUE_SIZE
MAIN = next(iter(SIZES.architectures))
# Steps in which memory is allocated, algorithms are chosen for every length of the captions, and the loader's
# workers fill their queues at full speed. With `2 * size.steps` timed ones and 7 profiled ones an epoch.
WARMUP = 4 if ON_CPU else 12


@pytest.fixture(scope="session")
def photos(size: Size, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The manifest of the training shards."""
    folder = tmp_path_factory.mktemp("photos")
    return write_photo_shards(folder / "shards", size.pairs, min(size.pairs, 192))


@pytest.fixture(scope="session")
def validation(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The manifest of a few validation pairs, which are not reached."""
    return shards_of(tmp_path_factory.mktemp("validation"), [(n, f"photo {n}") for n in range(8)]).path


def record_training(log: Path, timed: slice, run: Run, recipe: Recipe, workers: int, processes: int) -> None:
    """Record the throughput and the waiting for data in the timed steps of a log."""
    events = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    steps = [event for event in events if event["event"] == "step"][timed]
    assert steps
    assert all(math.isfinite(event["loss"]) for event in steps)
    seconds = sum(event["batch_seconds"] for event in steps)
    record(
        "training",
        {
            "architecture": run.architecture,
            "objective": run.objective,
            "batch_size": recipe.batch_size,
            "micro_batch_size": recipe.micro_batch_size,
            "precision": recipe.precision,
            "processes": processes,
            "workers": workers,
            "pairs_per_second": len(steps) * recipe.batch_size / seconds,
            "data_wait": sum(event["data_seconds"] for event in steps) / seconds,
        },
    )


@pytest.mark.parametrize("workers", SIZES.workers)
@pytest.mark.filterwarnings("default")  # torch's advice for more workers than cores
def test_loader_alone_is_measured(
    context: DistributedContext, size: Size, photos: Path, workers: int
) -> None:
    config = model_config(size.architectures[MAIN])
    micro_batch_size = size.micro_batch_sizes[0]
    recipe = cc3m_recipe("clip", batch_size=size.batch_size, micro_batch_size=micro_batch_size)
    shards = Shards(photos)
    crop = RandomResizedCrop(config["vision_cfg"]["image_size"], (recipe.crop_scale, 1.0), 1)
    pairs = PairDataset(shards, crop, tokenizer_for(config))
    order = BatchOrder(len(shards), recipe, 1, 0, context)
    batches = 2 + max(4, 4 * workers) if not ON_CPU else 6
    with kill_workers_on_exit():
        loader = iter(training_loader(pairs, order, workers))
        for _ in islice(loader, 2 * workers):  # those that were loaded while the workers started
            pass
        start = time.perf_counter()
        images = sum(len(batch[0]) for batch in islice(loader, batches))
        seconds = time.perf_counter() - start
        del loader
    assert images == batches * micro_batch_size
    record("loader", {"workers": workers, "pairs_per_second": images / seconds})


@pytest.mark.parametrize(
    ("objective", "workers"), [("cloob", SIZES.workers[-2]), ("clip", SIZES.workers[-1])]
)
@pytest.mark.filterwarnings("default")  # the profiler's own
def test_run_is_measured_and_its_work_is_counted(
    context: DistributedContext,
    size: Size,
    photos: Path,
    validation: Path,
    tmp_path: Path,
    objective: str,
    workers: int,
) -> None:
    micro_batch_size = size.micro_batch_sizes[0]
    recipe = cc3m_recipe(objective, batch_size=size.batch_size, micro_batch_size=micro_batch_size)
    paths = RunPaths(photos, validation, tmp_path / "run")
    work = CountedWork(context.device, tmp_path / "trace.json")
    waits = CountedSynchronizations(context.device)
    timed = 2 * size.steps
    first = WARMUP + timed + 1  # of the steps that are profiled
    probe = StepProbe(first + 6, [(first, first + 1, lambda: work), (first + 3, first + 4, lambda: waits)])
    run = Run("cc3m", objective, MAIN, "cc3m", 1)
    options = TrainOptions(workers=workers)
    finished = train(run, recipe, size.architectures[MAIN], paths, context, probe, options)
    assert not finished
    record_training(paths.running_log, slice(WARMUP, WARMUP + timed), run, recipe, workers, processes=1)
    counts = work.summary(2) | {"synchronizations": waits.places(2)}
    record("work_per_step", {"architecture": MAIN, "objective": objective, **counts})
    if context.device.type == "cuda":
        assert counts["kernels"] > 0
        assert sum(counts["blocking_calls"].values()) <= 1, counts["blocking_calls"]


def test_run_on_several_gpus_is_measured(
    device: torch.device, size: Size, photos: Path, validation: Path, tmp_path: Path
) -> None:
    available = torch.cuda.device_count() if device.type == "cuda" else 2
    micro_batch_size = size.micro_batch_sizes[0]
    processes = min(available, size.batch_size // micro_batch_size)
    if processes < 2:
        pytest.skip(f"one GPU per process, at least 2; there is {available}")
    recipe = cc3m_recipe("cloob", batch_size=size.batch_size, micro_batch_size=micro_batch_size, epochs=1)
    run, workers = Run("cc3m", "cloob", MAIN, "cc3m", 1), size.workers[0]
    options = [f"--processes={processes}", f"--validation={validation}"]
    model, changes = size.architectures[MAIN], asdict(recipe)
    folder = tmp_path / "run"
    done = run_train(photos, model, folder, workers=workers, options=options, **changes)
    assert done.returncode == 0, done.stderr
    steps = size.pairs // size.batch_size
    record_training(folder / "metrics.jsonl", slice(steps // 4, steps), run, recipe, workers, processes)
