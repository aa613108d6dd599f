"""The training loop: from the first step, or from the latest checkpoint, to the final checkpoint."""

import math
import shutil
import time
from collections.abc import Sequence

import torch
from torch import Tensor

from cloob.common.atomic_files import atomic_write, remove_leftovers
from cloob.common.data_loading import kill_workers_on_exit
from cloob.common.errors import InputError
from cloob.models.export import export_open_clip
from cloob.models.open_clip_models import CONFIG_FILE, WEIGHTS_FILE
from cloob.train.data import MicroBatch, check_replaced
from cloob.train.distributed import DistributedContext
from cloob.train.metrics_log import validated_on
from cloob.train.recipe import Recipe, Run
from cloob.train.schedule import learning_rate
from cloob.train.setup import RunPaths, Training, TrainOptions, set_up
from cloob.train.signals import StopRequest
from cloob.train.state import position, write_checkpoint
from cloob.train.submitted_step import Counts, DataWait, NumbersOnTheirWay, SubmittedStep, timing_event
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
    stop request, it finishes the step (with several processes, up to two more), writes a checkpoint and
    returns False. Raises `InputError` for invalid input (a corpus smaller than a batch, a checkpoint of
    another recipe, model or corpus), if the loss or the weights are not finite, and if more than
    `max_replaced_fraction` of a batch do not decode.

    A finished run writes its results again. If the validation pairs have changed, it is validated again.

    A trial of a hyperparameter search writes only `metrics.jsonl`. It is also finished if the loss is not
    finite; the log then has the event `diverged`.
    """
    training = set_up(run, recipe, architecture, paths, context, options)
    finished = True
    try:
        if training.step == training.order.steps:
            _validate_on_changed_pairs(training)
        while finished and training.step < training.order.steps:
            finished = _train_epoch(training, stop)
    except DivergedError as error:  # in all processes, because the loss is the same
        if not options.trial:
            raise
        if training.log:
            training.log.write("diverged", training.samples_seen, message=str(error))
            training.checkpointer.forget_starts()
    if training.log:
        if finished:
            training.log.write("end", training.samples_seen)
        training.log.close()
        if finished:  # only with a complete log: closing it raises the write errors of TensorBoard's thread
            _write_results(training)
    if not finished:
        context.barrier()  # launchers kill all processes as soon as one exits with an error status
    return finished


def _train_epoch(training: Training, stop: StopRequest) -> bool:
    """Train to the end of the epoch, validate and save; returns False after a requested stop.

    The numbers of a step are read after the next one was submitted, so that the device never waits for the
    host. Nothing is validated or saved before all steps are checked.

    `batch_seconds` ends when the host has read the numbers of the step before, and if it is to save, its own.
    So on a GPU, the first step after a checkpoint has only the time of its submission, and the last one
    before has the time of two steps. Sums over steps are right.
    """
    order, context = training.order, training.context
    epoch, step_in_epoch = divmod(training.step, order.steps_per_epoch)
    unchecked: SubmittedStep | None = None
    start = time.perf_counter()
    while step_in_epoch < order.steps_per_epoch:
        micro_batches = next(training.micro_batches)
        finished = unchecked.numbers.finished if unchecked else None
        wait = DataWait(time.perf_counter() - start, finished, timing_event(context.device))
        submitted = _submit_step(training, micro_batches, wait, stop)
        step_in_epoch += 1
        end_of_epoch = step_in_epoch == order.steps_per_epoch
        if unchecked:
            _check_step(training, unchecked)
        stopping, due = _common_requests(training, stop, submitted if end_of_epoch else unchecked)
        saving = end_of_epoch or stopping or due
        if saving:
            submitted.numbers.read()
        submitted.batch_seconds = time.perf_counter() - start
        unchecked = submitted
        if saving:
            _check_step(training, submitted)
            unchecked = None
        # A search looks at the last epoch of a trial only.
        if end_of_epoch and (not training.options.trial or epoch + 1 == training.recipe.epochs):
            _validate(training, epoch + 1)
        if saving and context.is_main:
            _save_checkpoint(training)
        if stopping:
            return False
        start = time.perf_counter()
    return True


def _submit_step(
    training: Training, micro_batches: Sequence[MicroBatch], wait: DataWait, stop: StopRequest
) -> SubmittedStep:
    """Update the weights, after a wait for the data."""
    step, context = training.step, training.context
    rate = learning_rate(step, training.order.steps, training.recipe)
    loss = training.train_step(step, rate, [(images, tokens) for images, tokens, _ in micro_batches])
    training.samples_seen += training.recipe.batch_size
    replaced = [index for _, _, indices in micro_batches for index in indices]
    requests = _local_requests(training, stop) if context.world_size > 1 else ()
    inv_temperature = training.model.logit_scale.detach().exp()
    numbers = NumbersOnTheirWay(loss, inv_temperature, Counts(len(replaced), *requests), context)
    return SubmittedStep(step, training.samples_seen, rate, replaced, wait, numbers)


def _local_requests(training: Training, stop: StopRequest) -> tuple[bool, bool]:
    """Whether this process is to stop, and whether it is to save a checkpoint."""
    return stop.requested, training.context.is_main and training.checkpointer.is_due()


def _common_requests(
    training: Training, stop: StopRequest, deciding: SubmittedStep | None
) -> tuple[bool, bool]:
    """Whether all processes stop, and whether a checkpoint is saved, after the step that was just submitted.

    Several processes follow the requests that they summed with the step `deciding`, which is the one before
    except at the end of an epoch: they act one step late. A single process needs no number of the device to
    decide, and acts at once.
    """
    if training.context.world_size == 1:
        stopping, due = _local_requests(training, stop)
    elif deciding is None:
        return False, False
    else:
        _, stop_requests, checkpoints_due = deciding.numbers.read().counts
        stopping, due = stop_requests > 0, checkpoints_due > 0
    return stopping and training.step < training.order.steps, due


def _check_step(training: Training, submitted: SubmittedStep) -> None:
    """Check the loss and the replaced pairs of a step, and log it."""
    recipe, order, step = training.recipe, training.order, submitted.number
    numbers = submitted.numbers.read()
    check_replaced(
        training.shards,
        submitted.replaced,
        int(numbers.counts.replaced),
        recipe.batch_size,
        training.options.max_replaced_fraction,
        training.context,
    )
    if not math.isfinite(numbers.loss):
        raise _not_finite(training, "the loss", step)
    if training.log:
        values = {
            "step": step + 1,
            "steps": order.steps,
            "epoch": (step + 1) / order.steps_per_epoch,
            "loss": numbers.loss,
            "learning_rate": submitted.learning_rate,
            "inv_temperature": numbers.inv_temperature,
            "replaced": int(numbers.counts.replaced),
            "data_seconds": submitted.wait.device_seconds(),
            "batch_seconds": submitted.batch_seconds,
            "samples_per_second": recipe.batch_size / submitted.batch_seconds,
            "processes": training.context.world_size,
        }
        training.log.write("step", submitted.samples_seen, **values)
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


def _validate_on_changed_pairs(training: Training) -> None:
    """Validate the weights of a finished run, unless the log has their validation on the same pairs."""
    pairs = training.validation.shards.manifest["sha256"]
    log, seen = training.paths.running_log, training.samples_seen
    if training.context.broadcast(training.context.is_main and validated_on(log, seen) != pairs):
        _validate(training, training.recipe.epochs)


def _save_checkpoint(training: Training) -> None:
    weights = training.model.state_dict()
    if not _all_finite(weights):
        if training.options.trial:
            return  # only the main process checks the weights; the next loss ends the trial in all
        raise _not_finite(training, "a weight", training.step - 1)
    if training.log:
        training.log.sync()
    checkpoint = {"samples_seen": training.samples_seen, "state_dict": weights}
    epoch, step_in_epoch = divmod(training.step, training.order.steps_per_epoch)
    training.checkpointer.save(epoch, step_in_epoch, checkpoint | training.train_step.state_dict())


def _write_results(training: Training) -> None:
    """Write the output files of the Snakemake rule `train`; a trial has only the log."""
    samples_seen, folder = training.samples_seen, training.paths.folder
    for name in ("final.pt", "metrics.jsonl", f"open_clip/{WEIGHTS_FILE}", f"open_clip/{CONFIG_FILE}"):
        remove_leftovers(folder / name)
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
    good = [path.name for path in checkpointer.paths() if position(path) < position(suspect)]
    rate = learning_rate(step, order.steps, training.recipe)
    return DivergedError(
        f"{training.run.name}: {subject} is not finite at step {step + 1}, learning rate {rate:.3g}; "
        f"the last good checkpoint is {good[-1] if good else 'none'} in {checkpointer.folder}. Reduce the "
        "learning rate, or use a longer warm-up"
    )
