"""How fast is a whole training step: ours with CLIP's and with CLOOB's objective, and open_clip's own.

Same encoders, batch, precision and device; captions whose lengths are distributed as those of Conceptual
Captions (10.3 ± 4.5 words: Sharma et al. 2018, table 1), a start and an end token and 1.15 tokens a word.
open_clip's step is its `train_one_epoch` on one batch, ours `Learner.step`, both with AdamW, in turns.
"""

import argparse
import logging
import math
import statistics
import time
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

import numpy as np
import open_clip
import torch
import yaml
from open_clip.loss import ClipLoss
from open_clip_train.train import train_one_epoch

from cloob.models.config import model_config
from cloob.models.preprocessing import normalize_pixels
from cloob.train.distributed import World, joined
from cloob.train.loop import fresh_encoder
from cloob.train.recipe import Recipe, Run
from cloob.train.step import Learner

CONFIG = Path(__file__).parents[1] / "config" / "config.yaml"
END = 49407


def tokens_of(captions: int) -> torch.Tensor:
    """(captions, 77) tokens of texts as long as real ones."""
    deviation = math.sqrt(math.log(1 + (4.5 / 10.3) ** 2))
    words = np.random.default_rng(0).lognormal(math.log(10.3) - deviation**2 / 2, deviation, captions)
    tokens = torch.zeros(captions, 77, dtype=torch.long)
    generator = torch.Generator().manual_seed(0)
    for row, length in zip(tokens, np.clip(np.round(words * 1.15) + 2, 3, 77).astype(int), strict=True):
        row[:length] = torch.randint(1, END - 1, (int(length),), generator=generator)
        row[0], row[length - 1] = END - 1, END
    return tokens


def ours(model: str, objective: str, batch: int, precision: str, world: World) -> Callable[[], float]:
    """One step with the recipe of Conceptual Captions."""
    recipe = yaml.safe_load(CONFIG.read_text(encoding="utf-8"))["recipes"]["cc3m"]
    recipe |= recipe.pop("objectives")[objective]
    recipe.pop("eval_epochs")
    recipe |= {"batch_size": batch, "micro_batch_size": batch // world.processes, "precision": precision}
    run, recipe, config = Run("cc3m", objective, "", "", 1), Recipe(**recipe), model_config(model)
    learner = Learner(fresh_encoder(config, run, recipe, world), run, recipe, world)
    size = config["vision_cfg"]["image_size"]
    images = torch.randint(0, 256, (batch, 3, size, size), dtype=torch.uint8)
    tokens = tokens_of(batch)
    tokens = tokens[:, : int(tokens.argmax(dim=1).max()) + 1]  # as `collate` makes them
    return lambda: learner.step(0, 1e-4, [(images, tokens)])


def open_clips(model: str, batch: int, precision: str, world: World) -> Callable[[], float]:
    """open_clip's own step, on images that its loader has already normalized."""
    torch.manual_seed(0)
    encoders = open_clip.create_model(model, device=world.device, output_dict=True)
    size = model_config(model)["vision_cfg"]["image_size"]
    images = normalize_pixels(torch.randint(0, 256, (batch, 3, size, size), dtype=torch.uint8))
    optimizer = torch.optim.AdamW(encoders.parameters(), lr=1e-4, weight_decay=0.1)
    names = {"float32": "fp32", "bfloat16": "amp_bf16", "float16": "amp"}
    arguments = Namespace(
        device=str(world.device),
        precision=names[precision],
        distill=False,
        accum_freq=1,
        skip_scheduler=True,
        horovod=False,
        grad_clip_norm=None,
        batch_size=batch,
        world_size=1,
        rank=0,
        local_rank=0,
        log_every_n_steps=1,
        wandb=False,
    )

    class Loader(list):
        num_batches, num_samples = 1, batch

    data = {"train": Namespace(dataloader=Loader([(images, tokens_of(batch))]), set_epoch=lambda epoch: None)}
    scaler = torch.amp.GradScaler(world.device.type) if precision == "float16" else None
    return lambda: train_one_epoch(encoders, data, ClipLoss(), 0, optimizer, scaler, None, None, arguments)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="RN50-quickgelu", help="open_clip's name of the model")
    parser.add_argument("--batch", type=int, default=16, help="pairs in a step")
    parser.add_argument("--repeats", type=int, default=7, help="turns, of which the median counts")
    parser.add_argument("--precision", default="float32", choices=["float32", "bfloat16", "float16"])
    options = parser.parse_args()
    logging.disable(logging.INFO)
    with joined() as world:
        ways = {
            "open_clip, CLIP": open_clips(options.model, options.batch, options.precision, world),
            "ours, CLIP": ours(options.model, "clip", options.batch, options.precision, world),
            "ours, CLOOB": ours(options.model, "cloob", options.batch, options.precision, world),
        }
        seconds = {name: [] for name in ways}
        for turn in range(options.repeats + 1):
            for name, step in ways.items():
                begun = time.perf_counter()
                step()
                if world.device.type == "cuda":
                    torch.cuda.synchronize()
                if turn:  # the first warms up
                    seconds[name].append(time.perf_counter() - begun)
        threads = f"{torch.get_num_threads()} threads" if world.device.type == "cpu" else "1 GPU"
        print(
            f"{options.model}, batch {options.batch}, {options.precision}, {threads}, "
            f"torch {torch.__version__}\n"
        )
        print("| step | images/s | × open_clip's |\n|---|---|---|")
        peer = statistics.median(seconds["open_clip, CLIP"])
        for name, found in seconds.items():
            speed = options.batch / statistics.median(found)
            print(f"| {name} | {speed:.1f} | {peer / statistics.median(found):.2f} |")


if __name__ == "__main__":
    main()
