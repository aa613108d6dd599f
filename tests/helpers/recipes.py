"""A base recipe; every test overrides only the hyperparameters that it tests."""

from typing import Any

from cloob.train.recipe import Recipe

BASE: dict[str, Any] = {
    "epochs": 3,
    "batch_size": 8,
    "micro_batch_size": 4,
    "learning_rate": 1e-3,
    "warmup_steps": 2,
    "schedule": "cosine",
    "cycles": 1,
    "weight_decay": 0.1,
    "decay_temperature": True,
    "adam_beta1": 0.9,
    "adam_beta2": 0.999,
    "adam_eps": 1e-8,
    "crop_scale": 0.9,
    "precision": "float32",
    "channels_last": True,
    "compile": False,
    "gradient_checkpointing": False,
    "inv_temperature": 30.0,
    "learnable_temperature": False,
    "hopfield_beta": 8.0,
}


def recipe(**changes: Any) -> Recipe:
    """The base recipe with changes."""
    return Recipe(**(BASE | changes))
