"""A run and its recipe, which together determine the trained weights. Imports no torch."""

import argparse
from collections.abc import Iterator
from dataclasses import MISSING, dataclass, field, fields
from typing import Any, TypeVar

from cloob.common.errors import InputError
from cloob.models.config import ModelConfig, min_micro_batch_size
from cloob.objectives.registry import OBJECTIVES, get_objective

T = TypeVar("T")

SCHEDULES = ("cosine", "cosine_restarts")
# Weights are float32, with autocast for the half precisions; float64 is for numerical comparisons.
PRECISIONS = ("float32", "bfloat16", "float16", "float64")
ALL_REDUCE_PRECISIONS = ("float32", "bfloat16")
# A learned 1/τ is clipped to this range, as CLIP's is.
MIN_INV_TEMPERATURE, MAX_INV_TEMPERATURE = 1.0, 100.0


def _option(description: str, *, default: Any = MISSING, **argument: Any) -> Any:
    return field(default=default, metadata={"help": description, **argument})


@dataclass(frozen=True)
class Run:
    """One training run; its name is also the name of its folder."""

    corpus: str = _option("name of the training corpus in the config")
    objective: str = _option(
        "contrastive objective: " + "; ".join(f"{name} = {o.description}" for name, o in OBJECTIVES.items()),
        choices=tuple(OBJECTIVES),
    )
    architecture: str = _option("name of the architecture in the config")
    recipe: str = _option("name of the recipe in the config")
    seed: int = _option("seed of initialization, data order, augmentation and dropout")

    @property
    def name(self) -> str:
        """`corpus-objective-architecture-recipe-seedN`."""
        return f"{self.corpus}-{self.objective}-{self.architecture}-{self.recipe}-seed{self.seed}"


@dataclass(frozen=True)
class Recipe:
    """The hyperparameters of a training run (authors' protocol: blog and README of ml-jku/cloob).

    The values are defined once, in `config/`. Only `hopfield_beta` has a default, for the objectives without
    Hopfield retrieval, which do not use it, and `gradient_all_reduce`, for recipes from before it existed.
    """

    epochs: int = _option("passes over the corpus")
    batch_size: int = _option("image-text pairs in the loss of one step, over all processes")
    micro_batch_size: int = _option(
        "pairs per forward pass, over which BatchNorm computes its statistics; divides the batch size"
    )
    learning_rate: float = _option("peak learning rate")
    warmup_steps: int = _option("steps of linear warm-up from 0")
    schedule: str = _option("learning-rate decay after the warm-up", choices=SCHEDULES)
    cycles: int = _option("cosine cycles over the whole run, for cosine_restarts")
    weight_decay: float = _option("AdamW's decoupled weight decay")
    decay_temperature: bool = _option("apply the weight decay to a learned temperature, too")
    adam_beta1: float = _option("AdamW's decay rate of the first moment")
    adam_beta2: float = _option("AdamW's decay rate of the second moment")
    adam_eps: float = _option("AdamW's epsilon")
    crop_scale: float = _option("smallest fraction of the image's area in a random crop")
    precision: str = _option("precision of the encoders (autocast)", choices=PRECISIONS)
    channels_last: bool = _option("store images and convolution weights in channels-last memory format")
    compile: bool = _option("compile the encoders (torch.compile); adds minutes to the start")
    gradient_checkpointing: bool = _option(
        "recompute activations in the backward pass: less memory, more time"
    )
    inv_temperature: float = _option("initial inverse temperature 1/tau of the loss")
    learnable_temperature: bool = _option("learn 1/tau (CLIP) or keep it fixed (CLOOB)")
    hopfield_beta: float = _option("inverse temperature beta of the Hopfield retrieval", default=0.0)
    gradient_all_reduce: str = _option(
        "precision in which gradients are summed over the processes; bfloat16 halves the bytes that are "
        "sent, and has no effect with one process",
        choices=ALL_REDUCE_PRECISIONS,
        default="float32",
    )


# The values that a recipe has if it does not name them, such as that of an older checkpoint.
RECIPE_DEFAULTS = {entry.name: entry.default for entry in fields(Recipe) if entry.default is not MISSING}


def recipe_problems(
    recipe: Recipe,
    *,
    objective: str | None = None,
    processes: int = 1,
    model_config: ModelConfig | None = None,
) -> Iterator[tuple[str, str]]:
    """The violated constraints of a recipe, as (hyperparameter, problem).

    Used by `cloob.workflow` before any job runs, and by `cloob train`. `objective`, the number of training
    `processes` and the `model_config` (an open_clip model configuration) add the constraints that depend on
    them.
    """
    for entry in fields(recipe):
        value = getattr(recipe, entry.name)
        if value not in entry.metadata.get("choices", (value,)):
            yield entry.name, f"{value!r} is unknown; choose from {', '.join(entry.metadata['choices'])}"
    for name in ("epochs", "batch_size", "micro_batch_size", "cycles", "learning_rate", "adam_eps"):
        if not getattr(recipe, name) > 0:
            yield name, f"{getattr(recipe, name)} is not above 0"
    for name in ("warmup_steps", "weight_decay", "hopfield_beta"):
        if not getattr(recipe, name) >= 0:
            yield name, f"{getattr(recipe, name)} is negative"
    for name in ("adam_beta1", "adam_beta2"):
        if not 0 <= getattr(recipe, name) < 1:
            yield name, f"{getattr(recipe, name)} is not in [0, 1)"
    if not 0 < recipe.crop_scale <= 1:
        yield "crop_scale", f"{recipe.crop_scale} is not a fraction of the image's area, in (0, 1]"
    if not MIN_INV_TEMPERATURE <= recipe.inv_temperature <= MAX_INV_TEMPERATURE:
        allowed = f"[{MIN_INV_TEMPERATURE:g}, {MAX_INV_TEMPERATURE:g}]"
        yield "inv_temperature", f"{recipe.inv_temperature} is not in {allowed}"
    if recipe.gradient_all_reduce == "bfloat16" and recipe.precision == "float64":
        yield "gradient_all_reduce", "bfloat16 would discard the digits of precision float64; use float32"
    if objective is not None and get_objective(objective).hopfield and recipe.hopfield_beta == 0:
        yield "hopfield_beta", f"objective {objective} needs a value above 0"
    if recipe.batch_size < 1 or recipe.micro_batch_size < 1:
        return
    if recipe.batch_size < 2:
        yield "batch_size", "1 leaves no negatives for the contrastive loss; use at least 2"
    if recipe.batch_size % recipe.micro_batch_size:
        yield "micro_batch_size", f"{recipe.micro_batch_size} does not divide batch_size, {recipe.batch_size}"
    elif (micro_batches := recipe.batch_size // recipe.micro_batch_size) % processes:
        yield (
            "micro_batch_size",
            f"{micro_batches} micro-batches of {recipe.micro_batch_size} pairs cannot be divided equally "
            f"among {processes} processes",
        )
    minimum = 1 if model_config is None else min_micro_batch_size(model_config)
    if recipe.micro_batch_size < minimum:
        yield (
            "micro_batch_size",
            f"{recipe.micro_batch_size} is too small for the BatchNorm layers of the model; "
            f"use at least {minimum}",
        )


def check_recipe(recipe: Recipe, **setup: Any) -> None:
    """Raise `InputError` naming the first violated constraint; for `setup`, see `recipe_problems`."""
    for name, problem in recipe_problems(recipe, **setup):
        raise InputError(f"recipe.{name}: {problem}")


def add_dataclass_arguments(parser: argparse.ArgumentParser, record: type, title: str) -> None:
    """One flag per field of a dataclass: `learning_rate` becomes `--learning-rate`."""
    group = parser.add_argument_group(title)
    for entry in fields(record):
        options: dict[str, Any] = dict(entry.metadata)
        options |= {"required": True} if entry.default is MISSING else {"default": entry.default}
        converter = _boolean if entry.type is bool else entry.type
        group.add_argument(f"--{entry.name.replace('_', '-')}", type=converter, **options)


def dataclass_from_args(options: argparse.Namespace, record: type[T]) -> T:
    """The dataclass given by the flags of `add_dataclass_arguments`."""
    names = [entry.name for entry in fields(record)]  # type: ignore[arg-type]
    return record(**{name: getattr(options, name) for name in names})


def _boolean(text: str) -> bool:
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    raise argparse.ArgumentTypeError(f"{text!r} is neither true nor false")
