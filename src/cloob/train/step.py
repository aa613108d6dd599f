"""One update of the weights from a global batch, whoever holds which of its micro-batches."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from cloob.models.clip import CLIPModel
from cloob.models.preprocessing import normalize_pixels
from cloob.objectives.losses import contrastive_loss
from cloob.train.batchnorm import RunningStatistics
from cloob.train.distributed import World
from cloob.train.optimizer import make_optimizer
from cloob.train.recipe import Recipe, Run

MAX_LOG_INV_TEMPERATURE = math.log(100.0)


class Learner:
    """The encoders with all that changes while they train.

    The embeddings of all micro-batches of a step enter one loss. A process that holds several embeds
    each twice: first without gradient, to know the loss, then again with it, one at a time; so the batch is
    bounded by no GPU's memory. What a micro-batch draws (dropout) is a function of (seed, its number).

    The gradients are views of one tensor, which the processes sum once a step. (DistributedDataParallel would
    sum them in parts, in an order that it changes after the first step: a run that was interrupted would not
    end with the bits of one that was not.)
    """

    def __init__(self, model: CLIPModel, run: Run, recipe: Recipe, world: World) -> None:
        self.model, self.run, self.recipe, self.world = model, run, recipe, world
        self.optimizer = make_optimizer(model.named_parameters(), recipe)
        self.scaler = torch.amp.GradScaler(world.device.type, enabled=recipe.precision == "float16")
        self.statistics = RunningStatistics(model)
        for weight in model.state_dict().values():
            dist.broadcast(weight, 0)  # a seed does not give the same bits on every kind of processor
        trained = [weight for weight in model.parameters() if weight.requires_grad]
        self.gradient = torch.zeros(
            sum(weight.numel() for weight in trained), dtype=trained[0].dtype, device=world.device
        )
        for weight, part in zip(trained, self.gradient.split([one.numel() for one in trained]), strict=True):
            weight.grad = part.as_strided(weight.shape, weight.stride())

    def state(self) -> dict[str, Any]:
        """What a checkpoint needs beside the weights for the run to go on."""
        return {"optimizer": self.optimizer.state_dict(), "scaler": self.scaler.state_dict()}

    def load(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint: its weights and `state`."""
        self.model.load_state_dict(state["state_dict"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])

    def step(self, number: int, rate: float, micro_batches: Sequence[tuple[Tensor, Tensor]]) -> float:
        """Learn from this process's micro-batches of step `number` (0-based); the global batch's loss.

        A micro-batch is uint8 images (B, 3, S, S) and tokens (B, L).
        """
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.gradient.zero_()
        all_of_step = self.recipe.batch_size // self.recipe.micro_batch_size
        first = number * all_of_step + self.world.rank * len(micro_batches)
        once = len(micro_batches) == 1
        self.statistics.begin()
        embedded = []
        with torch.set_grad_enabled(once):
            for place, micro_batch in enumerate(micro_batches, start=first):
                embedded.append(self._embed(micro_batch, place))
                self.statistics.count()

        image, text = (_joined([one[part] for one in embedded]) for part in (0, 1))
        temperature = embedded[0][2].detach().requires_grad_(self.recipe.learnable_temperature)
        loss = contrastive_loss(
            image,
            text,
            objective=self.run.objective,
            inv_temperature=temperature,
            beta=self.recipe.hopfield_beta,
            group=dist.group.WORLD,
        )
        loss.backward()

        gradients = zip(
            *(part.grad.split(self.recipe.micro_batch_size) for part in (image, text)), strict=True
        )
        for place, (micro_batch, wanted) in enumerate(zip(micro_batches, gradients, strict=True)):
            outputs = embedded[0] if once else self._embed(micro_batch, first + place)
            roots, leaves = list(outputs[:2]), list(wanted)
            if place == 0 and self.recipe.learnable_temperature:
                roots, leaves = [*roots, outputs[2]], [*leaves, temperature.grad]
            scaled = [self.scaler.scale(leaf).to(root) for leaf, root in zip(leaves, roots, strict=True)]
            torch.autograd.backward(roots, scaled)
        dist.all_reduce(self.gradient)  # each process holds a share of it
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.statistics.end(all_of_step)
        with torch.no_grad():
            self.model.logit_scale.clamp_(0.0, MAX_LOG_INV_TEMPERATURE)
        return float(loss.detach())

    def _embed(self, micro_batch: tuple[Tensor, Tensor], number: int) -> tuple[Tensor, Tensor, Tensor]:
        """Normalized embeddings (B, d) of images and texts, and 1/tau."""
        pixels, tokens = (part.to(self.world.device, non_blocking=True) for part in micro_batch)
        torch.manual_seed(int(np.random.SeedSequence([self.run.seed, number]).generate_state(1)[0]))
        precision = getattr(torch, self.recipe.precision)
        reduced = precision in (torch.float16, torch.bfloat16)
        with torch.autocast(self.world.device.type, precision if reduced else None, enabled=reduced):
            return self.model(normalize_pixels(pixels), tokens)


def _joined(parts: list[Tensor]) -> Tensor:
    """One leaf, in float32 at least: the loss and its gradient are never in half precision."""
    joined = torch.cat(parts).detach()
    return joined.to(torch.promote_types(joined.dtype, torch.float32)).requires_grad_()
