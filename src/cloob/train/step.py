"""One optimizer step on a global batch that is sharded over the ranks as micro-batches."""

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
from cloob.train.batchnorm import BatchNormStatistics
from cloob.train.distributed import DistributedContext
from cloob.train.optimizer import make_optimizer
from cloob.train.recipe import MAX_INV_TEMPERATURE, MIN_INV_TEMPERATURE, Recipe, Run


class TrainStep:
    """The model with its optimizer, gradient scaler and BatchNorm statistics.

    Gradient caching (GradCache, Gao et al. 2021): embed all micro-batches of this rank without grad, compute
    the loss of the global batch and d(loss)/d(embedding), then re-embed each micro-batch with grad and
    backpropagate. So GPU memory does not limit the batch size. A rank with a single micro-batch embeds it
    only once. The dropout of a micro-batch is a function of (seed, global index of the micro-batch).

    The gradients are views of a single tensor, which is all-reduced once per step.
    (DistributedDataParallel reduces buckets whose order changes after the first step, so an interrupted and
    resumed run would not be bit-identical to an uninterrupted one.)
    """

    def __init__(self, model: CLIPModel, run: Run, recipe: Recipe, context: DistributedContext) -> None:
        self.model, self.run, self.recipe, self.context = model, run, recipe, context
        self.optimizer = make_optimizer(model.named_parameters(), recipe)
        self.scaler = torch.amp.GradScaler(context.device.type, enabled=recipe.precision == "float16")
        self.batchnorm = BatchNormStatistics(model)
        for value in model.state_dict().values():
            dist.broadcast(value, 0)  # the same seed may give different bits on different processors
        trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        sizes = [parameter.numel() for parameter in trained]
        self.gradient = torch.zeros(sum(sizes), dtype=trained[0].dtype, device=context.device)
        for parameter, part in zip(trained, self.gradient.split(sizes), strict=True):
            parameter.grad = part.as_strided(parameter.shape, parameter.stride())

    def state_dict(self) -> dict[str, Any]:
        """The state to save in a checkpoint besides the weights."""
        return {"optimizer": self.optimizer.state_dict(), "scaler": self.scaler.state_dict()}

    def load_state_dict(self, checkpoint: dict[str, Any]) -> None:
        """Restore the weights and `state_dict` from a checkpoint."""
        self.model.load_state_dict(checkpoint["state_dict"])
        self.optimizer.load_state_dict(checkpoint["optimizer"])
        self.scaler.load_state_dict(checkpoint["scaler"])

    def __call__(
        self, step: int, learning_rate: float, micro_batches: Sequence[tuple[Tensor, Tensor]]
    ) -> float:
        """Train on this rank's micro-batches of `step` (0-based); return the loss of the global batch.

        A micro-batch is uint8 images (B, 3, S, S) and tokens (B, L).
        """
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        self.gradient.zero_()
        per_step = self.recipe.batch_size // self.recipe.micro_batch_size
        first_index = step * per_step + self.context.rank * len(micro_batches)
        single = len(micro_batches) == 1
        self.batchnorm.start_step()
        outputs = []
        with torch.set_grad_enabled(single):
            for index, micro_batch in enumerate(micro_batches, start=first_index):
                outputs.append(self._embed(micro_batch, index))
                self.batchnorm.add_micro_batch()

        image, text = (_concatenate_detached([output[side] for output in outputs]) for side in (0, 1))
        inv_temperature = outputs[0][2].detach().requires_grad_(self.recipe.learnable_temperature)
        loss = contrastive_loss(
            image,
            text,
            objective=self.run.objective,
            inv_temperature=inv_temperature,
            beta=self.recipe.hopfield_beta,
            group=dist.group.WORLD,
        )
        loss.backward()

        assert image.grad is not None
        assert text.grad is not None
        size = self.recipe.micro_batch_size
        gradients = zip(image.grad.split(size), text.grad.split(size), strict=True)
        for number, (micro_batch, embedding_grads) in enumerate(zip(micro_batches, gradients, strict=True)):
            output = outputs[0] if single else self._embed(micro_batch, first_index + number)
            tensors, grads = list(output[:2]), list(embedding_grads)
            if number == 0 and self.recipe.learnable_temperature:
                tensors, grads = [*tensors, output[2]], [*grads, inv_temperature.grad]
            scaled = [self.scaler.scale(grad).to(tensor) for grad, tensor in zip(grads, tensors, strict=True)]
            torch.autograd.backward(tensors, scaled)
        dist.all_reduce(self.gradient)  # sums the partial gradients of the ranks
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.batchnorm.finish_step(per_step)
        with torch.no_grad():
            self.model.logit_scale.clamp_(math.log(MIN_INV_TEMPERATURE), math.log(MAX_INV_TEMPERATURE))
        return float(loss.detach())

    def _embed(self, micro_batch: tuple[Tensor, Tensor], index: int) -> tuple[Tensor, Tensor, Tensor]:
        """Normalized image and text embeddings (B, d), and 1/τ."""
        pixels, tokens = (part.to(self.context.device, non_blocking=True) for part in micro_batch)
        torch.manual_seed(int(np.random.SeedSequence([self.run.seed, index]).generate_state(1)[0]))
        precision = getattr(torch, self.recipe.precision)
        is_half = precision in (torch.float16, torch.bfloat16)
        with torch.autocast(self.context.device.type, precision if is_half else None, enabled=is_half):
            return self.model(normalize_pixels(pixels), tokens)


def _concatenate_detached(parts: list[Tensor]) -> Tensor:
    """One leaf tensor, at least float32: the loss and its gradient are never computed in half precision."""
    joined = torch.cat(parts).detach()
    return joined.to(torch.promote_types(joined.dtype, torch.float32)).requires_grad_()
