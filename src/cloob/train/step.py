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
from cloob.train.token_rows import TokenRows

# Name of the token embeddings among the parameters of the model.
TOKEN_EMBEDDING = "token_embedding.weight"


class TrainStep:
    """The model with its optimizer, gradient scaler and BatchNorm statistics.

    Gradient caching (GradCache, Gao et al. 2021): embed all micro-batches of this rank without grad, compute
    the loss of the global batch and d(loss)/d(embedding), then re-embed each micro-batch with grad and
    backpropagate. So GPU memory does not limit the batch size. A rank with a single micro-batch embeds it
    only once. The dropout of a micro-batch is a function of (seed, global index of the micro-batch).

    With several processes, the gradients are views of a single tensor, which is all-reduced once per step.
    (DistributedDataParallel reduces buckets whose order changes after the first step, so an interrupted and
    resumed run would not be bit-identical to an uninterrupted one.)

    `tokens` (R,) are the tokens that can occur, None for any (see `cloob.train.token_rows`).
    """

    def __init__(
        self,
        model: CLIPModel,
        run: Run,
        recipe: Recipe,
        context: DistributedContext,
        tokens: Tensor | None = None,
    ) -> None:
        self.model, self.run, self.recipe, self.context = model, run, recipe, context
        self.scaler = torch.amp.GradScaler(context.device.type, enabled=recipe.precision == "float16")
        self.batchnorm = BatchNormStatistics(model)
        for value in model.state_dict().values():
            dist.broadcast(value, 0)  # the same seed may give different bits on different processors
        self.token_rows: TokenRows | None = None
        parameters = dict(model.named_parameters())
        if tokens is not None and not self.scaler.is_enabled():  # a scaler may skip the update of the rows
            self.token_rows = model.token_embedding = TokenRows(model.token_embedding, tokens)
            parameters[TOKEN_EMBEDDING] = self.token_rows.rows
        self.optimizer = make_optimizer(parameters.items(), recipe)
        self.gradient: Tensor | None = None
        if context.world_size > 1:
            self.gradient = _flat_gradient([value for value in parameters.values() if value.requires_grad])

    def state_dict(self) -> dict[str, Any]:
        """The state to save in a checkpoint besides the weights."""
        optimizer = self.optimizer.state_dict()
        if self.token_rows is not None:
            index, state = self._state_of_rows(optimizer)
            optimizer["state"][index] = self.token_rows.dense_state(state)
        return {"optimizer": optimizer, "scaler": self.scaler.state_dict()}

    def load_state_dict(self, checkpoint: dict[str, Any]) -> None:
        """Restore the weights and `state_dict` from a checkpoint."""
        self.model.load_state_dict(checkpoint["state_dict"])
        optimizer = checkpoint["optimizer"]
        if self.token_rows is not None:
            self.token_rows.read_weight()
            index, state = self._state_of_rows(optimizer)
            compact = optimizer["state"] | {index: self.token_rows.compact_state(state)}
            optimizer = optimizer | {"state": compact}
        self.optimizer.load_state_dict(optimizer)
        self.scaler.load_state_dict(checkpoint["scaler"])

    def __call__(
        self, step: int, learning_rate: float, micro_batches: Sequence[tuple[Tensor, Tensor]]
    ) -> float:
        """Train on this rank's micro-batches of `step` (0-based); return the loss of the global batch.

        A micro-batch is uint8 images (B, 3, S, S) and tokens (B, L).
        """
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        if self.gradient is None:
            self.optimizer.zero_grad()
        else:
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
        if self.gradient is not None:
            dist.all_reduce(self.gradient)  # sums the partial gradients of the ranks
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if self.token_rows is not None:
            self.token_rows.finish_step(learning_rate * self.recipe.weight_decay)
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

    def _state_of_rows(self, optimizer: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """The index of the token embeddings in the state of the optimizer, and their state."""
        assert self.token_rows is not None
        parameters = [value for group in self.optimizer.param_groups for value in group["params"]]
        [index] = [number for number, value in enumerate(parameters) if value is self.token_rows.rows]
        return index, optimizer["state"].get(index, {})


def _flat_gradient(parameters: list[Tensor]) -> Tensor:
    """One tensor whose parts are the gradients of all parameters."""
    sizes = [parameter.numel() for parameter in parameters]
    gradient = torch.zeros(sum(sizes), dtype=parameters[0].dtype, device=parameters[0].device)
    for parameter, part in zip(parameters, gradient.split(sizes), strict=True):
        parameter.grad = part.as_strided(parameter.shape, parameter.stride())
    return gradient


def _concatenate_detached(parts: list[Tensor]) -> Tensor:
    """One leaf tensor, at least float32: the loss and its gradient are never computed in half precision."""
    joined = torch.cat(parts).detach()
    return joined.to(torch.promote_types(joined.dtype, torch.float32)).requires_grad_()
