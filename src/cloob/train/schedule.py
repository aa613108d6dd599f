"""The learning-rate schedules of the authors' code: `cosine` and `cosine_restarts`."""

import math

from cloob.train.recipe import Recipe


def learning_rate(step: int, steps: int, recipe: Recipe) -> float:
    """The learning rate of `step` (0-based) of a run of `steps`.

    Linear warm-up from 0 to the peak over `warmup_steps`, then cosine decay to 0 over the remaining steps;
    `cosine_restarts` repeats the decay `cycles` times.
    """
    if step < recipe.warmup_steps:
        return recipe.learning_rate * step / recipe.warmup_steps
    progress = (step - recipe.warmup_steps) / max(1, steps - recipe.warmup_steps)
    if recipe.schedule == "cosine_restarts":
        progress = (recipe.cycles * progress) % 1.0
    return recipe.learning_rate * 0.5 * (1.0 + math.cos(math.pi * progress))


def warm_up_problem(warmup_steps: int, steps_per_epoch: int, epochs: int) -> str | None:
    """Why a warm-up never reaches the peak of the learning rate; None if it does."""
    steps = steps_per_epoch * epochs
    if warmup_steps < steps:  # the last step is at the peak if it is the one after the warm-up
        return None
    of = "epoch of" if epochs == 1 else "epochs of"
    return (
        f"{warmup_steps:,}, but the run has only {steps:,} steps ({epochs} {of} {steps_per_epoch:,}); the "
        "learning rate would never reach its peak; reduce it"
    )
