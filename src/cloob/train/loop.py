"""One training run, from the first step or from where it was, to the final checkpoint."""

import math
import platform
import shutil
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cloob.common.atomic_files import atomic_write
from cloob.common.data_loading import check_shared_memory, kill_workers_on_exit
from cloob.common.errors import InputError
from cloob.common.provenance import current_commit
from cloob.models.clip import CLIPModel, build_model, checkpoint_activations
from cloob.models.config import ModelConfig, model_config
from cloob.models.export import export_open_clip
from cloob.models.preprocessing import center_crop_transform, tokenizer_for
from cloob.shards.reader import Shards
from cloob.train.augmentation import RandomResizedCrop
from cloob.train.data import Pairs, check_replaced, training_loader
from cloob.train.distributed import World
from cloob.train.metrics_log import Metrics
from cloob.train.order import BatchOrder
from cloob.train.progress import Progress
from cloob.train.recipe import Recipe, Run, check_recipe
from cloob.train.schedule import learning_rate
from cloob.train.signals import StopRequest
from cloob.train.state import (
    checkpoint_path,
    checkpoints_in,
    count_restart,
    newest_checkpoint,
    prune_checkpoints,
    read_checkpoint,
    save_checkpoint,
)
from cloob.train.step import Learner
from cloob.train.validation import validate


@dataclass(frozen=True)
class Places:
    """Where a run reads and writes."""

    shards: Path  # shards.json of the corpus
    validation: Path  # shards.json of the held-out captions
    folder: Path  # of the run: final.pt, metrics.jsonl, open_clip/, checkpoints/

    @property
    def checkpoints(self) -> Path:
        """The running checkpoints; Snakemake does not know of them."""
        return self.folder / "checkpoints"


@kill_workers_on_exit()
def train(
    run: Run,
    recipe: Recipe,
    architecture: str,
    places: Places,
    keep_epochs: set[int],
    checkpoint_interval_minutes: float,
    workers: int,
    world: World,
    stop: StopRequest,
    wandb_project: str = "",
    max_replaced_fraction: float = 1.0,
) -> bool:
    """Train `run` and leave `final.pt`, `metrics.jsonl` and `open_clip/` (the export) in its folder.

    Continues from the newest valid checkpoint of the same recipe; one is written at the end of every
    epoch and, within it, every `checkpoint_interval_minutes`. Returns whether the run is finished: once `stop` asks,
    it writes a checkpoint after the step. Raises `InputError` for input that does not fit (an unknown
    objective, a corpus smaller than a batch, a checkpoint of another recipe, model or corpus), where the loss
    or the weights are no longer finite, and where more than `max_replaced_fraction` of a batch do not decode.
    """
    places.checkpoints.mkdir(parents=True, exist_ok=True)
    config = model_config(architecture)
    check_recipe(recipe, objective=run.objective, processes=world.processes, model_config=config)
    shards, held_out = Shards(places.shards), Shards(places.validation)
    if len(held_out) < max(2, world.processes):
        raise InputError(
            f"{places.validation}: {len(held_out)} pairs, but validation needs at least "
            f"{max(2, world.processes)} (2, and one for each process); give another split"
        )
    size = config["vision_cfg"]["image_size"]
    # Training's workers keep theirs while validation's work.
    batch_bytes = 2 * recipe.micro_batch_size * 3 * size**2
    check_shared_memory(batch_bytes, workers * world.local_processes)

    model = fresh_encoder(config, run, recipe, world)
    learner = Learner(model, run, recipe, world)
    identity = {
        "run": {"name": run.name, **asdict(run)},
        "recipe": asdict(recipe),
        "model_config": config,
        "corpus_sha256": shards.manifest["sha256"],
    }
    samples_seen = 0
    newest = world.agreed(newest_checkpoint(places.checkpoints) if world.first else None)
    if newest is not None:
        checkpoint = read_checkpoint(newest, identity)
        learner.load(checkpoint)
        samples_seen = checkpoint["samples_seen"]
        del checkpoint
    restarts = count_restart(places.checkpoints, samples_seen) if world.first else 0

    tokenizer = tokenizer_for(config)
    pairs = Pairs(shards, RandomResizedCrop(size, (recipe.crop_scale, 1.0), run.seed), tokenizer)
    center = center_crop_transform(config)
    validation = Pairs(held_out, lambda image, _: center(image), tokenizer)
    order = BatchOrder(len(shards), recipe, run.seed, samples_seen, world)
    # A step takes as many micro-batches as this process holds of a batch.
    micro_batches = iter(training_loader(pairs, order, workers))
    steps = zip(*[micro_batches] * order.per_step, strict=True)

    running = places.checkpoints / "metrics.jsonl"
    metrics = Metrics(running, samples_seen, wandb_project, run.name) if world.first else None
    if metrics:
        metrics.write("start", samples_seen, restarts=restarts, **identity, **_circumstances(shards, world))
    progress = Progress(run.name, order.first, recipe.batch_size, world.processes)
    saved, seconds, ended = time.monotonic(), 0.0, time.perf_counter()
    for step, micro_batches in enumerate(steps, start=order.first):
        begun = time.perf_counter()
        rate = learning_rate(step, order.steps, recipe)
        loss = learner.step(step, rate, [micro_batch[:2] for micro_batch in micro_batches])
        [asked] = world.total(stop.asked)
        bad = [pair for micro_batch in micro_batches for pair in micro_batch[2]]
        replaced = check_replaced(shards, bad, recipe.batch_size, max_replaced_fraction, world)
        if not math.isfinite(loss):
            raise InputError(_not_finite(run, "the loss", step, rate, order, places))
        waited, working = begun - ended, time.perf_counter() - begun
        samples_seen += recipe.batch_size
        seconds += working
        epoch, place = divmod(step + 1, order.steps_per_epoch)
        if metrics:
            values = {
                "step": step + 1,
                "steps": order.steps,
                "epoch": (step + 1) / order.steps_per_epoch,
                "loss": loss,
                "learning_rate": rate,
                "inv_temperature": float(model.logit_scale.detach().exp()),
                "replaced": replaced,
                "data_seconds": waited,
                "batch_seconds": waited + working,
                "samples_per_second": recipe.batch_size / (waited + working),
            }
            metrics.write("step", samples_seen, **values)
            progress.step(values)
        if place == 0:
            found = validate(model, validation, run, recipe, workers, world, max_replaced_fraction)
            if not math.isfinite(found["loss"]):
                raise InputError(_not_finite(run, "the validation loss", step, rate, order, places))
            if metrics:
                metrics.write("validation", samples_seen, epoch=epoch, samples=len(validation), **found)
        stopping = asked > 0 and step + 1 < order.steps
        if metrics and (
            place == 0 or stopping or time.monotonic() - saved > 60 * checkpoint_interval_minutes
        ):
            weights = model.state_dict()
            if not _finite(weights):
                raise InputError(_not_finite(run, "a weight", step, rate, order, places))
            checkpoint = identity | {"epoch": epoch, "samples_seen": samples_seen, "state_dict": weights}
            save_checkpoint(checkpoint_path(places.checkpoints, epoch, place), checkpoint | learner.state())
            prune_checkpoints(places.checkpoints, keep_epochs)
            saved = time.monotonic()
        if stopping:
            if metrics:
                metrics.close()
            world.wait()  # launchers end all processes once one has ended with an error
            return False
        ended = time.perf_counter()
    if metrics:
        metrics.write("end", samples_seen, seconds_in_steps=seconds)
        metrics.close()
        export_open_clip(model, config, places.folder / "open_clip")
        final = {"epoch": recipe.epochs, "samples_seen": samples_seen, "state_dict": model.state_dict()}
        save_checkpoint(places.folder / "final.pt", identity | final)
        with atomic_write(places.folder / "metrics.jsonl") as beside:
            shutil.copyfile(running, beside)
    return True


def fresh_encoder(config: ModelConfig, run: Run, recipe: Recipe, world: World) -> CLIPModel:
    """The encoders as a run's seed makes them, with the recipe's temperature."""
    torch.manual_seed(run.seed)
    model = build_model(config)
    with torch.no_grad():
        model.logit_scale.fill_(math.log(recipe.inv_temperature))
    model.logit_scale.requires_grad_(recipe.learnable_temperature)
    if recipe.precision == "float64":
        model = model.double()
    if recipe.gradient_checkpointing:
        checkpoint_activations(model)
    if recipe.compile:
        model.compile()
    layout = torch.channels_last if recipe.channels_last else torch.contiguous_format
    return model.to(world.device, memory_format=layout)


def _not_finite(run: Run, what: str, step: int, rate: float, order: BatchOrder, places: Places) -> str:
    """The message. A checkpoint is good if it is older than the weights that step `step` (0-based) used."""
    these = checkpoint_path(places.checkpoints, *divmod(step, order.steps_per_epoch))
    good = [path.name for path in checkpoints_in(places.checkpoints) if path < these]
    return (
        f"{run.name}: {what} is not finite at step {step + 1}, learning rate {rate:.3g}; the last good "
        f"checkpoint is {good[-1] if good else 'none'} in {places.checkpoints}. Lower the learning rate, or "
        "warm up for longer"
    )


def _finite(weights: dict[str, Tensor]) -> bool:
    norms = torch._foreach_norm([one for one in weights.values() if one.is_floating_point()])
    return bool(torch.stack(norms).isfinite().all())


def _circumstances(shards: Shards, world: World) -> dict[str, Any]:
    """What a reader of the log has to know beside the run's identity to repeat it."""
    cuda = world.device.type == "cuda"
    return {
        "pairs": len(shards),
        "urls_sha256": shards.manifest.get("urls_sha256"),
        "processes": world.processes,
        "device": torch.cuda.get_device_name(world.device) if cuda else platform.processor() or "cpu",
        "torch": torch.__version__,
        "commit": current_commit(),
    }
