"""Our training step on given batches, from the authors' initial weights."""

from pathlib import Path

import torch
import yaml
from torch import Tensor

from benchmarks.parity.batches import OPEN_CLIP_CONFIG, Batch
from benchmarks.parity.cases import (
    BATCH_SIZE,
    HOPFIELD_BETA,
    LEARNING_RATE,
    METHODS,
    WARMUP_STEPS,
    WEIGHT_DECAY,
    Case,
)
from benchmarks.parity.history import History
from cloob.models.tokenizer import tokenizer_for
from cloob.train.distributed import DistributedContext
from cloob.train.recipe import Recipe, Run
from cloob.train.schedule import learning_rate
from cloob.train.setup import init_model
from cloob.train.step import TrainStep

CONFIG = Path(__file__).parents[2] / "config" / "config.yaml"


def make_recipe(case: Case) -> Recipe:
    """The recipe of Conceptual Captions with the settings of the case."""
    setting = case.setting
    entry = yaml.safe_load(CONFIG.read_text(encoding="utf-8"))["recipes"]["cc3m"]
    values = entry | METHODS[setting.method]
    values |= {
        "epochs": 1,
        "batch_size": BATCH_SIZE,
        "micro_batch_size": BATCH_SIZE // setting.processes,
        "learning_rate": LEARNING_RATE,
        "warmup_steps": WARMUP_STEPS,
        "schedule": setting.schedule,
        "weight_decay": WEIGHT_DECAY,
        "adam_eps": case.adam_eps,
        "decay_temperature": case.decay_temperature,
        "precision": setting.precision,
        "channels_last": False,
        "hopfield_beta": HOPFIELD_BETA,
    }
    return Recipe(**{name: values[name] for name in Recipe.__dataclass_fields__ if name in values})


def train_ours(batches: list[Batch], initial: dict[str, Tensor], case: Case, rank: int) -> History:
    """One epoch on this process's share of the batches, within a process group."""
    recipe = make_recipe(case)
    run = Run("parity", case.setting.method, "parity", "cc3m", 1)
    context = DistributedContext(rank, case.setting.processes, torch.device("cpu"))
    model = init_model(OPEN_CLIP_CONFIG, run, recipe, context)
    model.load_state_dict(initial)
    step = TrainStep(model, run, recipe, context)
    tokenizer = tokenizer_for(OPEN_CLIP_CONFIG)
    history = History(initial={name: value.clone() for name, value in model.state_dict().items()})
    share = slice(rank * recipe.micro_batch_size, (rank + 1) * recipe.micro_batch_size)
    for number, (pixels, captions) in enumerate(batches):
        images = torch.from_numpy(pixels[share]).permute(0, 3, 1, 2)
        rate = learning_rate(number, len(batches), recipe)
        history.learning_rates.append(rate)
        history.inv_temperatures.append(model.logit_scale.detach().double().exp().item())
        partial_loss = step(number, rate, [(images, tokenizer(captions[share]))])
        history.losses += context.all_reduce_sum(float(partial_loss))
    history.inv_temperatures.append(model.logit_scale.detach().double().exp().item())
    history.final = {name: value.clone() for name, value in model.state_dict().items()}
    return history
