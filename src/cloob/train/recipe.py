"""What a run is and how it is trained: the two records that decide every weight of the result."""

import argparse
from dataclasses import dataclass, field, fields
from typing import Any

from cloob.common.errors import InputError

SCHEDULES = ("cosine", "cosine_restarts")
# The weights are float32, and float64 in the last, for comparisons; the halves are autocast's.
PRECISIONS = ("float32", "bfloat16", "float16", "float64")


def _option(description: str, **argument: Any) -> Any:
    return field(metadata={"help": description, **argument})


@dataclass(frozen=True)
class Run:
    """One row of the paper's grid; its name is its folder."""

    corpus: str = _option("corpus of captioned images")
    objective: str = _option("clip (CLIP), infonce_hopfield, infoloob or cloob (CLOOB)")
    architecture: str = _option("name of the architecture in the config")
    recipe: str = _option("name of the recipe in the config")
    seed: int = _option("seed of initialization, order and augmentation")

    @property
    def name(self) -> str:
        """`corpus-objective-architecture-recipe-seedN`."""
        return f"{self.corpus}-{self.objective}-{self.architecture}-{self.recipe}-seed{self.seed}"


@dataclass(frozen=True)
class Recipe:
    """The hyper-parameters of a training run (authors' protocol: blog and README of ml-jku/cloob).

    No field has a default: a hyper-parameter stands once, in `config/`.
    """

    epochs: int = _option("passes over the corpus")
    batch_size: int = _option("pairs in the loss of one step, over all processes")
    micro_batch_size: int = _option("pairs over which BatchNorm takes its statistics; they divide the batch")
    learning_rate: float = _option("peak learning rate")
    warmup_steps: int = _option("steps of linear warm-up from 0")
    schedule: str = _option("decay after the warm-up", choices=SCHEDULES)
    cycles: int = _option("hard restarts of cosine_restarts over the whole run")
    weight_decay: float = _option("AdamW's decoupled weight decay")
    adam_beta1: float = _option("AdamW's decay of the first moment")
    adam_beta2: float = _option("AdamW's decay of the second moment")
    adam_eps: float = _option("AdamW's epsilon")
    crop_scale: float = _option("least share of the image's area that a random crop keeps")
    precision: str = _option("of the encoders (autocast)", choices=PRECISIONS)
    channels_last: bool = _option("keep the channels of images innermost in memory")
    compile: bool = _option("compile the encoders (torch.compile); minutes at the start")
    gradient_checkpointing: bool = _option(
        "make activations again in the backward pass: less memory, more time"
    )
    inv_temperature: float = _option("initial 1/tau of the loss")
    learnable_temperature: bool = _option("train 1/tau (CLIP) or keep it fixed (CLOOB)")
    hopfield_beta: float = _option("beta of the Hopfield retrieval; unused by the plain objectives")


def _boolean(text: str) -> bool:
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    raise argparse.ArgumentTypeError(f"{text!r} is neither true nor false")


def add_record(parser: argparse.ArgumentParser, record: type, title: str) -> None:
    """One required flag per field of a record: `learning_rate` becomes `--learning-rate`."""
    group = parser.add_argument_group(title)
    for entry in fields(record):
        options = dict(entry.metadata)
        kind = _boolean if entry.type is bool else entry.type
        group.add_argument(f"--{entry.name.replace('_', '-')}", type=kind, required=True, **options)


def record_from(options: argparse.Namespace, record: type) -> Any:
    """The record that `add_record`'s flags spell; recipes are checked (`InputError`)."""
    made = record(**{entry.name: getattr(options, entry.name) for entry in fields(record)})
    if isinstance(made, Recipe):
        check_recipe(made)
    return made


def check_recipe(recipe: Recipe) -> None:
    """Raise `InputError` naming the first hyper-parameter that no run can have, and why."""
    for name in (
        "epochs",
        "batch_size",
        "micro_batch_size",
        "cycles",
        "learning_rate",
        "adam_eps",
        "inv_temperature",
    ):
        if not getattr(recipe, name) > 0:
            raise InputError(f"recipe: {name} is {getattr(recipe, name)}, but has to be above 0")
    if recipe.batch_size < 2:
        raise InputError("recipe: batch is 1, but the loss compares a pair with others; make it at least 2")
    if recipe.batch_size % recipe.micro_batch_size:
        raise InputError(
            f"recipe: micro_batch_size is {recipe.micro_batch_size}, but has to divide the batch of {recipe.batch_size}"
        )
    for name in ("warmup_steps", "weight_decay", "hopfield_beta"):
        if getattr(recipe, name) < 0:
            raise InputError(f"recipe: {name} is {getattr(recipe, name)}, but cannot be negative")
    if not 0 < recipe.crop_scale <= 1:
        raise InputError(f"recipe: crop_scale is {recipe.crop_scale}, but is a share of the area, in (0, 1]")
