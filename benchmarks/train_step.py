"""Speed of a whole training step: ours with CLIP's and with CLOOB's objective, and open_clip's.

All use the same encoders, batch, precision and device; caption lengths are distributed as in Conceptual
Captions (10.3 ± 4.5 words: Sharma et al. 2018, table 1), with a start token, an end token and 1.15 tokens per
word. open_clip's step is its `train_one_epoch` on one batch, ours is `TrainStep`; both use AdamW and run
alternately.
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
from cloob.train.distributed import DistributedContext, init_distributed
from cloob.train.recipe import Recipe, Run
from cloob.train.setup import init_model
from cloob.train.step import TrainStep

CONFIG = Path(__file__).parents[1] / "config" / "config.yaml"
END_TOKEN = 49407


def make_tokens(captions: int) -> torch.Tensor:
    """Tokens (captions, 77) of random texts with the lengths of real ones."""
    deviation = math.sqrt(math.log(1 + (4.5 / 10.3) ** 2))
    words = np.random.default_rng(0).lognormal(math.log(10.3) - deviation**2 / 2, deviation, captions)
    tokens = torch.zeros(captions, 77, dtype=torch.long)
    generator = torch.Generator().manual_seed(0)
    for row, length in zip(tokens, np.clip(np.round(words * 1.15) + 2, 3, 77).astype(int), strict=True):
        row[:length] = torch.randint(1, END_TOKEN - 1, (int(length),), generator=generator)
        row[0], row[length - 1] = END_TOKEN - 1, END_TOKEN
    return tokens


def our_step(
    model: str, objective: str, batch_size: int, precision: str, context: DistributedContext
) -> Callable[[], float]:
    """A step with the recipe of Conceptual Captions."""
    entry = yaml.safe_load(CONFIG.read_text(encoding="utf-8"))["recipes"]["cc3m"]
    values = entry | entry["objectives"][objective] | {"batch_size": batch_size, "precision": precision}
    values["micro_batch_size"] = batch_size // context.world_size
    recipe = Recipe(**{name: values[name] for name in Recipe.__dataclass_fields__ if name in values})
    run, config = Run("cc3m", objective, "", "", 1), model_config(model)
    train_step = TrainStep(init_model(config, run, recipe, context), run, recipe, context)
    size = config["vision_cfg"]["image_size"]
    images = torch.randint(0, 256, (batch_size, 3, size, size), dtype=torch.uint8)
    tokens = make_tokens(batch_size)
    tokens = tokens[:, : int(tokens.argmax(dim=1).max()) + 1]  # padded to the longest, as by `collate`
    return lambda: train_step(0, 1e-4, [(images, tokens)])


def open_clip_step(
    model: str, batch_size: int, precision: str, context: DistributedContext
) -> Callable[[], float]:
    """open_clip's own step, on images that its loader has already normalized."""
    torch.manual_seed(0)
    encoders = open_clip.create_model(model, device=context.device, output_dict=True)
    size = model_config(model)["vision_cfg"]["image_size"]
    images = normalize_pixels(torch.randint(0, 256, (batch_size, 3, size, size), dtype=torch.uint8))
    optimizer = torch.optim.AdamW(encoders.parameters(), lr=1e-4, weight_decay=0.1)
    precisions = {"float32": "fp32", "bfloat16": "amp_bf16", "float16": "amp"}
    arguments = Namespace(
        device=str(context.device),
        precision=precisions[precision],
        distill=False,
        accum_freq=1,
        skip_scheduler=True,
        horovod=False,
        grad_clip_norm=None,
        batch_size=batch_size,
        world_size=1,
        rank=0,
        local_rank=0,
        log_every_n_steps=1,
        wandb=False,
    )

    class Loader(list):
        num_batches, num_samples = 1, batch_size

    loader = Loader([(images, make_tokens(batch_size))])
    data = {"train": Namespace(dataloader=loader, set_epoch=lambda epoch: None)}
    scaler = torch.amp.GradScaler(context.device.type) if precision == "float16" else None
    return lambda: train_one_epoch(encoders, data, ClipLoss(), 0, optimizer, scaler, None, None, arguments)


def main() -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="RN50-quickgelu", help="open_clip model name")
    parser.add_argument("--batch", type=int, default=16, help="pairs per step")
    parser.add_argument("--repeats", type=int, default=7, help="timed turns; the median is reported")
    parser.add_argument("--precision", default="float32", choices=["float32", "bfloat16", "float16"])
    options = parser.parse_args()
    logging.disable(logging.INFO)
    with init_distributed() as context:
        setup = options.batch, options.precision, context
        steps = {
            "open_clip, CLIP": open_clip_step(options.model, *setup),
            "ours, CLIP": our_step(options.model, "clip", *setup),
            "ours, CLOOB": our_step(options.model, "cloob", *setup),
        }
        seconds: dict[str, list[float]] = {name: [] for name in steps}
        for turn in range(options.repeats + 1):
            for name, step in steps.items():
                start = time.perf_counter()
                step()
                if context.device.type == "cuda":
                    torch.cuda.synchronize()
                if turn:  # the first turn is a warm-up
                    seconds[name].append(time.perf_counter() - start)
        threads = f"{torch.get_num_threads()} threads" if context.device.type == "cpu" else "1 GPU"
        print(
            f"{options.model}, batch {options.batch}, {options.precision}, {threads}, "
            f"torch {torch.__version__}\n"
        )
        print("| step | images/s | × open_clip's |\n|---|---|---|")
        reference = statistics.median(seconds["open_clip, CLIP"])
        for name, values in seconds.items():
            median = statistics.median(values)
            print(f"| {name} | {options.batch / median:.1f} | {reference / median:.2f} |")


if __name__ == "__main__":
    main()
