"""The loader feeds a real run: throughput and waiting per number of workers, and the work of a step."""

import json
import time
from itertools import islice
from pathlib import Path

import pytest
import torch

from cloob.common.data_loading import kill_workers_on_exit
from cloob.models.config import model_config
from cloob.models.preprocessing import tokenizer_for
from cloob.shards.reader import Shards
from cloob.train.augmentation import RandomResizedCrop
from cloob.train.data import PairDataset, training_loader
from cloob.train.distributed import DistributedContext
from cloob.train.loop import train
from cloob.train.order import BatchOrder
from cloob.train.recipe import Run
from cloob.train.setup import RunPaths, TrainOptions
from tests.gpu.conftest import ON_CPU
from tests.gpu.performance.conftest import SMALL_SIZE, TRUE_SIZE, Size
from tests.gpu.performance.photos import write_photo_shards
from tests.gpu.performance.step_probe import CountedSynchronizations, CountedWork, StepProbe
from tests.gpu.performance.workload import cc3m_recipe
from tests.gpu.results import record
from tests.helpers.captioned_shards import shards_of

SIZES = SMALL_SIZE if ON_CPU else TRUE_SIZE
MAIN = next(iter(SIZES.architectures))
WARMUP = 4  # steps in which memory is allocated and algorithms are chosen


@pytest.fixture(scope="session")
def photos(size: Size, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The manifest of the training shards."""
    folder = tmp_path_factory.mktemp("photos")
    return write_photo_shards(folder / "shards", size.pairs, min(size.pairs, 192))


@pytest.fixture(scope="session")
def validation(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The manifest of a few validation pairs, which are not reached."""
    return shards_of(tmp_path_factory.mktemp("validation"), [(n, f"photo {n}") for n in range(8)]).path


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
    log = [json.loads(line) for line in paths.running_log.read_text(encoding="utf-8").splitlines()]
    steps = [event for event in log if event["event"] == "step"][WARMUP : WARMUP + timed]
    assert len(steps) == timed
    assert all(torch.tensor(event["loss"]).isfinite() for event in steps)
    step_seconds = sum(event["batch_seconds"] for event in steps)
    record(
        "training",
        {
            "architecture": MAIN,
            "objective": objective,
            "batch_size": recipe.batch_size,
            "micro_batch_size": micro_batch_size,
            "precision": recipe.precision,
            "workers": workers,
            "pairs_per_second": timed * recipe.batch_size / step_seconds,
            "data_wait": sum(event["data_seconds"] for event in steps) / step_seconds,
        },
    )
    counts = work.summary(2) | {"synchronizations": waits.places(2)}
    record("work_per_step", {"architecture": MAIN, "objective": objective, **counts})
    if context.device.type == "cuda":
        assert counts["kernels"] > 0
