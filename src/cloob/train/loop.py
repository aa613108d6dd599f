"""The training loop: from the first step, or from the latest checkpoint, to the final checkpoint."""

import math
import shutil
import time
from collections.abc import Sequence

import torch
from torch import Tensor

from cloob.common.atomic_files import atomic_write
from cloob.common.data_loading import kill_workers_on_exit
from cloob.common.errors import InputError
from cloob.models.export import export_open_clip
from cloob.train.data import MicroBatch, count_replaced
from cloob.train.distributed import DistributedContext
from cloob.train.recipe import Recipe, Run
from cloob.train.schedule import learning_rate
from cloob.train.setup import RunPaths, Training, TrainOptions, set_up
from cloob.train.signals import StopRequest
from cloob.train.state import write_checkpoint
from cloob.train.validation import validate


@kill_workers_on_exit()
def train(
    run: Run,
    recipe: Recipe,
    architecture: str,
    paths: RunPaths,
    context: DistributedContext,
    stop: StopRequest,
    options: TrainOptions,
) -> bool:
    """Train `run`; write `final.pt`, `metrics.jsonl` and `open_clip/` (the export) to its folder.

    Resumes from the latest valid checkpoint of the same run. A checkpoint is written at the end of every
    epoch and, within an epoch, every `checkpoint_interval_minutes`. Returns whether the run is finished: on a
    stop request, it finishes the step, writes a checkpoint and returns False. Raises `InputError` for invalid
    input (a corpus smaller than a batch, a checkpoint of another recipe, model or corpus), if the loss or the
    weights are not finite, and if more than `max_replaced_fraction` of a batch do not decode.

    A trial of a hyperparameter search writes only `metrics.jsonl`. It is also finished if the loss is not
    finite; the log then has the event `diverged`.
    """
    training = set_up(run, recipe, architecture, paths, context, options)
    finished = True
    try:
        while finished and training.step < training.order.steps:
            finished = _train_epoch(training, stop)
    except DivergedError as error:  # in all processes, because the loss is the same
        if not options.trial:
            raise
        if training.log:
            training.log.write("diverged", training.samples_seen, message=str(error))
    if training.log:
        if finished:
            training.log.write("end", training.samples_seen, seconds_in_steps=training.seconds_in_steps)
        training.log.close()
        if finished:  # only with a complete log: closing it raises the write errors of TensorBoard's thread
            _write_results(training)
    if not finished:
        context.barrier()  # launchers kill all processes as soon as one exits with an error status
    return finished


def _train_epoch(training: Training, stop: StopRequest) -> bool:
    """Train to the end of the epoch, validate and save; returns False after a requested stop."""
    order, checkpointer = training.order, training.checkpointer
    epoch, step_in_epoch = divmod(training.step, order.steps_per_epoch)
    previous_end = time.perf_counter()
    while step_in_epoch < order.steps_per_epoch:
        micro_batches = next(training.micro_batches)
        _train_one_step(training, micro_batches, time.perf_counter() - previous_end)
        [stop_requests] = training.context.all_reduce_sum(stop.requested)
        step_in_epoch += 1
        end_of_epoch = step_in_epoch == order.steps_per_epoch
        if end_of_epoch:
            _validate(training, epoch + 1)
        stopping = stop_requests > 0 and training.step < order.steps
        if training.context.is_main and (end_of_epoch or stopping or checkpointer.is_due()):
            _save_checkpoint(training)
        if stopping:
            return False
        previous_end = time.perf_counter()
    return True


def _train_one_step(training: Training, micro_batches: Sequence[MicroBatch], data_seconds: float) -> None:
    """Update the weights, check the loss, log the step; `data_seconds` is the time spent waiting for data."""
    recipe, order, step = training.recipe, training.order, training.step
    start = time.perf_counter()
    rate = learning_rate(step, order.steps, recipe)
    loss = training.train_step(step, rate, [(images, tokens) for images, tokens, _ in micro_batches])
    replaced = count_replaced(
        training.shards,
        [index for _, _, indices in micro_batches for index in indices],
        recipe.batch_size,
        training.options.max_replaced_fraction,
        training.context,
    )
    if not math.isfinite(loss):
        raise _not_finite(training, "the loss", step)
    step_seconds = time.perf_counter() - start
    training.seconds_in_steps += step_seconds
    training.samples_seen += recipe.batch_size
    if training.log:
        values = {
            "step": step + 1,
            "steps": order.steps,
            "epoch": (step + 1) / order.steps_per_epoch,
            "loss": loss,
            "learning_rate": rate,
            "inv_temperature": float(training.model.logit_scale.detach().exp()),
            "replaced": replaced,
            "data_seconds": data_seconds,
            "batch_seconds": data_seconds + step_seconds,
            "samples_per_second": recipe.batch_size / (data_seconds + step_seconds),
        }
        training.log.write("step", training.samples_seen, **values)
        training.progress.update(values)


def _validate(training: Training, epoch: int) -> None:
    """Log the validation metrics after `epoch` epochs."""
    metrics = validate(
        training.model,
        training.validation,
        training.run,
        training.recipe,
        training.options.workers,
        training.context,
        training.options.max_replaced_fraction,
    )
    if not math.isfinite(metrics["loss"]):
        raise _not_finite(training, "the validation loss", training.step - 1)
    if training.log:
        samples = len(training.validation)
        training.log.write("validation", training.samples_seen, epoch=epoch, samples=samples, **metrics)


def _save_checkpoint(training: Training) -> None:
    weights = training.model.state_dict()
    if not _all_finite(weights):
        if training.options.trial:
            return  # only the main process checks the weights; the next loss ends the trial in all
        raise _not_finite(training, "a weight", training.step - 1)
    checkpoint = {"samples_seen": training.samples_seen, "state_dict": weights}
    epoch, step_in_epoch = divmod(training.step, training.order.steps_per_epoch)
    training.checkpointer.save(epoch, step_in_epoch, checkpoint | training.train_step.state_dict())


def _write_results(training: Training) -> None:
    """Write the output files of the Snakemake rule `train`; a trial has only the log."""
    samples_seen, folder = training.samples_seen, training.paths.folder
    if not training.options.trial:
        export_open_clip(training.model, training.config, folder / "open_clip")
        weights = training.model.state_dict()
        final = {"epoch": training.recipe.epochs, "samples_seen": samples_seen, "state_dict": weights}
        write_checkpoint(folder / "final.pt", training.checkpointer.identity | final)
    with atomic_write(folder / "metrics.jsonl") as temporary:
        shutil.copyfile(training.paths.running_log, temporary)


def _all_finite(weights: dict[str, Tensor]) -> bool:
    norms = torch._foreach_norm([weight for weight in weights.values() if weight.is_floating_point()])
    return bool(torch.stack(norms).isfinite().all())


class DivergedError(InputError):
    """The loss or a weight is not finite."""


def _not_finite(training: Training, subject: str, step: int) -> DivergedError:
    """The error to raise. Good checkpoints are older than the weights used by step `step` (0-based)."""
    checkpointer, order = training.checkpointer, training.order
    suspect = checkpointer.path(*divmod(step, order.steps_per_epoch))
    good = [path.name for path in checkpointer.paths() if path < suspect]
    rate = learning_rate(step, order.steps, training.recipe)
    return DivergedError(
        f"{training.run.name}: {subject} is not finite at step {step + 1}, learning rate {rate:.3g}; "
        f"the last good checkpoint is {good[-1] if good else 'none'} in {checkpointer.folder}. Reduce the "
        "learning rate, or use a longer warm-up"
    )
