"""Batches of the shape of Conceptual Captions, and the training steps that are compared on them."""

import math
from argparse import Namespace
from collections.abc import Callable
from typing import Any

import numpy as np
import open_clip
import torch
import yaml
from open_clip.loss import ClipLoss
from open_clip_train.train import train_one_epoch
from torch import Tensor

from cloob.models.config import model_config
from cloob.models.preprocessing import normalize_pixels
from cloob.train.distributed import DistributedContext
from cloob.train.recipe import Recipe, Run
from cloob.train.setup import init_model
from cloob.train.step import TrainStep
from tests.helpers.repository import ROOT

START, END = 49406, 49407
PRECISIONS = {"float32": "fp32", "bfloat16": "amp_bf16", "float16": "amp"}  # open_clip's names


def caption_words(captions: int) -> np.ndarray:
    """Numbers of words as in Conceptual Captions: 10.3 ± 4.5 (Sharma et al. 2018, table 1)."""
    deviation = math.sqrt(math.log(1 + (4.5 / 10.3) ** 2))
    generator = np.random.default_rng(0)
    words = generator.lognormal(math.log(10.3) - deviation**2 / 2, deviation, captions)
    return np.clip(np.round(words), 1, 60).astype(int)


def make_tokens(captions: int, context_length: int) -> Tensor:
    """Random captions (captions, context length): a start and an end token, and 1.15 tokens per word."""
    lengths = np.clip(np.round(caption_words(captions) * 1.15) + 2, 3, context_length).astype(int)
    tokens = torch.zeros(captions, context_length, dtype=torch.long)
    generator = torch.Generator().manual_seed(0)
    for row, length in zip(tokens, lengths.tolist(), strict=True):
        row[:length] = torch.randint(1, START, (length,), generator=generator)
        row[0], row[length - 1] = START, END
    return tokens


def make_images(number: int, size: int, pin: bool) -> Tensor:
    """Random uint8 images (number, 3, S, S), channels-last as from the loader, in pinned memory if `pin`."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (number, size, size, 3), dtype=torch.uint8, generator=generator)
    return (images.pin_memory() if pin else images).permute(0, 3, 1, 2)


def cc3m_recipe(objective: str, **changes: Any) -> Recipe:
    """The recipe of Conceptual Captions with changes; the runs here are shorter than its warm-up."""
    config = yaml.safe_load((ROOT / "config" / "config.yaml").read_text(encoding="utf-8"))
    entry = config["recipes"]["cc3m"]
    slow = {"warmup_steps": 0, "learning_rate": 1e-6}  # as in the first steps of the warm-up
    values = entry | entry["objectives"][objective] | slow | changes
    return Recipe(**{name: values[name] for name in Recipe.__dataclass_fields__ if name in values})


def our_step(
    architecture: str, objective: str, recipe: Recipe, context: DistributedContext
) -> tuple[Callable[[], object], TrainStep]:
    """A step on a batch in memory, each micro-batch padded to its longest caption, as by the loader."""
    config = model_config(architecture)
    run = Run("cc3m", objective, "", "", 1)
    train_step = TrainStep(init_model(config, run, recipe, context), run, recipe, context)
    pin = context.device.type == "cuda"
    images = make_images(recipe.batch_size, config["vision_cfg"]["image_size"], pin)
    tokens = make_tokens(recipe.batch_size, config["text_cfg"]["context_length"])
    micro_batches = []
    for pixels, captions in zip(
        images.split(recipe.micro_batch_size), tokens.split(recipe.micro_batch_size), strict=True
    ):
        padded = captions[:, : int(captions.argmax(dim=1).max()) + 1].contiguous()
        micro_batches.append((pixels, padded.pin_memory() if pin else padded))
    return lambda: train_step(0, 1e-4, micro_batches), train_step


def open_clip_step(architecture: str, recipe: Recipe, context: DistributedContext) -> Callable[[], object]:
    """open_clip's own step (`train_one_epoch`) on the same batch, padded to its context length.

    Its images are already normalized, as by its loader, and in pinned memory. Micro-batches are accumulated
    by its own gradient caching (`--accum-freq`).
    """
    torch.manual_seed(0)
    config = model_config(architecture)
    encoders = open_clip.CLIP(**config, output_dict=True).to(context.device)
    if recipe.channels_last:
        encoders = encoders.to(memory_format=torch.channels_last)
    size = config["vision_cfg"]["image_size"]
    images = normalize_pixels(make_images(recipe.batch_size, size, False)).contiguous()
    tokens = make_tokens(recipe.batch_size, config["text_cfg"]["context_length"])
    if context.device.type == "cuda":
        images, tokens = images.pin_memory(), tokens.pin_memory()
    optimizer = torch.optim.AdamW(encoders.parameters(), lr=1e-4, weight_decay=recipe.weight_decay)
    accumulated = recipe.batch_size // recipe.micro_batch_size
    arguments = Namespace(
        device=str(context.device),
        precision=PRECISIONS[recipe.precision],
        distill=False,
        accum_freq=accumulated,
        skip_scheduler=True,
        horovod=False,
        grad_clip_norm=None,
        batch_size=recipe.micro_batch_size,
        world_size=1,
        rank=0,
        local_rank=0,
        log_every_n_steps=1000,
        wandb=False,
    )

    class Loader(list):
        num_batches, num_samples = accumulated, recipe.batch_size

    batches = zip(images.split(recipe.micro_batch_size), tokens.split(recipe.micro_batch_size), strict=True)
    data = {"train": Namespace(dataloader=Loader(batches), set_epoch=lambda epoch: None)}
    scaler = torch.amp.GradScaler(context.device.type) if recipe.precision == "float16" else None
    return lambda: train_one_epoch(encoders, data, ClipLoss(), 0, optimizer, scaler, None, None, arguments)
