"""Set up a training run: model, optimizer, data and log, restored from its latest checkpoint."""

import math
import platform
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from cloob.common.data_loading import check_shared_memory
from cloob.common.errors import InputError
from cloob.common.provenance import current_commit
from cloob.models.clip import CLIPModel, build_model, checkpoint_activations
from cloob.models.config import ModelConfig, model_config
from cloob.models.preprocessing import center_crop_transform
from cloob.models.tokenizer import tokenizer_for
from cloob.shards.reader import Shards
from cloob.train.augmentation import RandomResizedCrop
from cloob.train.data import MicroBatch, PairDataset, training_loader
from cloob.train.distributed import DistributedContext
from cloob.train.metrics_log import MetricsLog
from cloob.train.order import BatchOrder
from cloob.train.progress import Progress
from cloob.train.recipe import Recipe, Run, check_recipe
from cloob.train.schedule import warm_up_problem
from cloob.train.state import Checkpointer
from cloob.train.step import TrainStep
from cloob.train.token_rows import corpus_tokens


@dataclass(frozen=True)
class RunPaths:
    """Input and output of a run."""

    shards: Path
    """Manifest (shards.json) of the training corpus."""
    validation: Path
    """Manifest of the held-out image-text pairs."""
    folder: Path
    """Folder of the run, with final.pt, metrics.jsonl, open_clip/ and checkpoints/."""

    @property
    def checkpoints(self) -> Path:
        """Folder of the checkpoints during training; no Snakemake rule declares it."""
        return self.folder / "checkpoints"

    @property
    def running_log(self) -> Path:
        """The log while the run is in progress."""
        return self.checkpoints / "metrics.jsonl"


@dataclass(frozen=True)
class TrainOptions:
    """Options that do not change the trained weights."""

    keep_epochs: frozenset[int] = frozenset()
    """Epochs whose checkpoints are never deleted."""
    checkpoint_interval_minutes: float = float("inf")
    """Time between checkpoints within an epoch."""
    workers: int = 0
    """Loader processes per training process."""
    wandb_project: str = ""
    """Weights & Biases project, none if empty."""
    max_replaced_fraction: float = 1.0
    """Fraction of a batch whose images may fail to decode."""
    trial: bool = False
    """A trial of a hyperparameter search: validate after the last epoch, and write only the log, also if
    training diverges.
    """
    tuned: frozenset[str] = frozenset()
    """Hyperparameters that a search chose: checkpoints with other values are set aside."""


@dataclass
class Training:
    """A run in progress."""

    run: Run
    recipe: Recipe
    paths: RunPaths
    options: TrainOptions
    context: DistributedContext
    config: ModelConfig
    train_step: TrainStep
    shards: Shards
    validation: PairDataset
    order: BatchOrder
    micro_batches: Iterator[Sequence[MicroBatch]]
    """The micro-batches of this process, one step at a time."""
    checkpointer: Checkpointer
    log: MetricsLog | None
    """Only in the main process."""
    progress: Progress
    samples_seen: int

    @property
    def model(self) -> CLIPModel:
        """The encoders being trained."""
        return self.train_step.model

    @property
    def step(self) -> int:
        """The number of completed steps."""
        return self.samples_seen // self.recipe.batch_size


def set_up(
    run: Run,
    recipe: Recipe,
    architecture: str,
    paths: RunPaths,
    context: DistributedContext,
    options: TrainOptions,
) -> Training:
    """Initialize a run, or restore it from the latest valid checkpoint. Raises `InputError`."""
    paths.checkpoints.mkdir(parents=True, exist_ok=True)
    config = model_config(architecture)
    check_recipe(recipe, objective=run.objective, processes=context.world_size, model_config=config)
    shards, held_out = Shards(paths.shards), Shards(paths.validation)
    if context.is_main and (note := shards.open_files_note()):
        print(note, flush=True)
    if len(held_out) < max(2, context.world_size):
        raise InputError(
            f"{paths.validation}: {len(held_out)} pairs, but validation needs at least "
            f"{max(2, context.world_size)} (2, and one per process); use another validation set"
        )
    image_size = config["vision_cfg"]["image_size"]
    # The workers of the training loader keep their batches in memory while the validation workers run.
    batch_bytes = 2 * recipe.micro_batch_size * 3 * image_size**2
    check_shared_memory(batch_bytes, options.workers * context.local_world_size)

    model = init_model(config, run, recipe, context)
    tokenizer = tokenizer_for(config)
    tokens = corpus_tokens(shards, tokenizer) if context.device.type == "cpu" else None
    train_step = TrainStep(model, run, recipe, context, tokens)
    identity = {
        "run": {"name": run.name, **asdict(run)},
        "recipe": asdict(recipe),
        "model_config": config,
        "corpus_sha256": shards.manifest["sha256"],
    }
    checkpointer = Checkpointer(
        paths.checkpoints,
        identity,
        options.keep_epochs,
        options.checkpoint_interval_minutes,
        replaceable={f"recipe.{name}" for name in options.tuned},
    )
    samples_seen = 0
    if (checkpoint := checkpointer.latest(context)) is not None:
        train_step.load_state_dict(checkpoint)
        samples_seen = checkpoint["samples_seen"]
        del checkpoint

    crop = RandomResizedCrop(image_size, (recipe.crop_scale, 1.0), run.seed)
    dataset = PairDataset(shards, crop, tokenizer)
    center_crop = center_crop_transform(config)
    validation = PairDataset(held_out, lambda image, _: center_crop(image), tokenizer)
    order = BatchOrder(len(shards), recipe, run.seed, samples_seen, context)
    problem = warm_up_problem(recipe.warmup_steps, order.steps_per_epoch, recipe.epochs)
    if problem and context.is_main:  # no error: a recipe may be tried on a part of its corpus
        print(f"warning: recipe.warmup_steps: {problem}", flush=True)
    restarts = 0
    if context.is_main:
        restarts = checkpointer.register_restart(samples_seen, is_complete=order.first_step == order.steps)
    loader = iter(training_loader(dataset, order, options.workers))
    log = None
    if context.is_main:
        log = MetricsLog(paths.running_log, samples_seen, options.wandb_project, run.name)
        metadata = _run_metadata(shards, held_out, context)
        log.write("start", samples_seen, restarts=restarts, **identity, **metadata)
    return Training(
        run,
        recipe,
        paths,
        options,
        context,
        config,
        train_step,
        shards,
        validation,
        order,
        zip(*[loader] * order.micro_batches_per_step, strict=True),
        checkpointer,
        log,
        Progress(run.name, order.first_step, recipe.batch_size, context.world_size),
        samples_seen,
    )


def init_model(config: ModelConfig, run: Run, recipe: Recipe, context: DistributedContext) -> CLIPModel:
    """The encoders initialized from the run's seed, with the recipe's temperature, precision and layout."""
    torch.manual_seed(run.seed)
    model = build_model(config)
    if recipe.precision == "float64":
        model = model.double()
    with torch.no_grad():
        model.logit_scale.fill_(math.log(recipe.inv_temperature))
    model.logit_scale.requires_grad_(recipe.learnable_temperature)
    if recipe.gradient_checkpointing:
        checkpoint_activations(model)
    if recipe.compile:
        model.compile()
    layout = torch.channels_last if recipe.channels_last else torch.contiguous_format
    return model.to(context.device, memory_format=layout)


def _run_metadata(shards: Shards, held_out: Shards, context: DistributedContext) -> dict[str, Any]:
    """Metadata for reproducing the run, logged in addition to its identity."""
    cuda = context.device.type == "cuda"
    return {
        "pairs": len(shards),
        "urls_sha256": shards.manifest.get("urls_sha256"),
        "validation_sha256": held_out.manifest["sha256"],
        "processes": context.world_size,
        "device": torch.cuda.get_device_name(context.device) if cuda else platform.processor() or "cpu",
        "torch": torch.__version__,
        "commit": current_commit(),
    }
