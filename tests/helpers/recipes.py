"""A recipe to vary: every test says only what it is about."""

from typing import Any

from cloob.train.recipe import Recipe

BASE: dict[str, Any] = {
    "epochs": 3,
    "batch": 8,
    "micro_batch": 4,
    "learning_rate": 1e-3,
    "warmup_steps": 2,
    "schedule": "cosine",
    "cycles": 1,
    "weight_decay": 0.1,
    "beta1": 0.9,
    "beta2": 0.999,
    "epsilon": 1e-8,
    "crop_scale": 0.9,
    "precision": "float32",
    "channels_last": True,
    "compile": False,
    "gradient_checkpointing": False,
    "inverse_temperature": 30.0,
    "learn_temperature": False,
    "hopfield_beta": 8.0,
}


def recipe(**changes: Any) -> Recipe:
    return Recipe(**(BASE | changes))
