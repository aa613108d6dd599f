"""The learning rate as a function of the step (the authors' `cosine` and `cosine_restarts`)."""

import math

from cloob.train.recipe import Recipe


def learning_rate(step: int, steps: int, recipe: Recipe) -> float:
    """The rate of step `step` of `steps`, counted from 0.

    Linear warm-up from 0 to the peak over `warmup_steps`, then half a cosine wave from the peak to
    0 over the remaining steps; `cosine_restarts` repeats the wave `cycles` times.
    """
    if step < recipe.warmup_steps:
        return recipe.learning_rate * step / recipe.warmup_steps
    progress = (step - recipe.warmup_steps) / max(1, steps - recipe.warmup_steps)
    if recipe.schedule == "cosine_restarts":
        progress = (recipe.cycles * progress) % 1.0
    return recipe.learning_rate * 0.5 * (1.0 + math.cos(math.pi * progress))
