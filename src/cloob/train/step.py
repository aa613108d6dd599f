"""One optimizer step on a global batch that is sharded over the ranks as micro-batches."""

import math
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
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
from cloob.train.gradient import SummedGradient
from cloob.train.optimizer import make_optimizer
from cloob.train.precision import encoder_autocast
from cloob.train.recipe import MAX_INV_TEMPERATURE, MIN_INV_TEMPERATURE, Recipe, Run
from cloob.train.token_rows import TokenRows

# Name of the token embeddings among the parameters of the model.
TOKEN_EMBEDDING = "token_embedding.weight"
# By `Recipe.gradient_all_reduce`; None is the precision of the weights.
REDUCED_DTYPES = {"float32": None, "bfloat16": torch.bfloat16}


class TrainStep:
    """The model with its optimizer, gradient scaler and BatchNorm statistics.

    Gradient caching (GradCache, Gao et al. 2021): embed all micro-batches of this rank without grad, compute
    the loss of the global batch and d(loss)/d(embedding), then re-embed each micro-batch with grad and
    backpropagate. So GPU memory does not limit the batch size. A rank with a single micro-batch embeds it
    only once. The dropout of a micro-batch is a function of (seed, global index of the micro-batch).

    With several processes, the gradients are summed while the last micro-batch is backpropagated (see
    `SummedGradient`). The host never waits for the device: micro-batches in pinned memory are copied on a
    stream of their own, and the loss is returned as a tensor, not yet summed over the processes.

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
        reduced_dtype = REDUCED_DTYPES[recipe.gradient_all_reduce]
        self.gradient: SummedGradient | None = None
        if context.world_size > 1:
            self.gradient = SummedGradient(parameters.items(), reduced_dtype=reduced_dtype)
        self._copy_stream = torch.cuda.Stream(context.device) if context.device.type == "cuda" else None

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
    ) -> Tensor:
        """Train on this rank's micro-batches of `step` (0-based); return this rank's part of the loss, ().

        The parts of all ranks sum to the loss of the global batch. A micro-batch is uint8 images
        (B, 3, S, S) and tokens (B, L).
        """
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        if self.gradient is None:
            self.optimizer.zero_grad()
        else:
            self.gradient.zero()
        per_step = self.recipe.batch_size // self.recipe.micro_batch_size
        first_index = step * per_step + self.context.rank * len(micro_batches)
        single = len(micro_batches) == 1
        self.batchnorm.start_step()
        outputs = []
        with torch.set_grad_enabled(single), self._casting_once():
            for index, micro_batch in enumerate(self._on_device(micro_batches), start=first_index):
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
            row_counts=[len(image)] * self.context.world_size,
            partial=True,
        )
        loss.backward()

        assert image.grad is not None
        assert text.grad is not None
        size = self.recipe.micro_batch_size
        gradients = zip(image.grad.split(size), text.grad.split(size), strict=True)
        last = len(micro_batches) - 1
        # The second pass embeds again, so it needs the micro-batches again.
        again = iter(()) if single else self._on_device(micro_batches)
        with self._casting_once():
            for number, embedding_grads in enumerate(gradients):
                output = outputs[0] if single else self._embed(next(again), first_index + number)
                tensors, grads = list(output[:2]), list(embedding_grads)
                if number == 0 and self.recipe.learnable_temperature:
                    tensors, grads = [*tensors, output[2]], [*grads, inv_temperature.grad]
                scaled = [
                    self.scaler.scale(grad).to(tensor) for grad, tensor in zip(grads, tensors, strict=True)
                ]
                is_last = number == last and self.gradient is not None
                with self.gradient.overlapped() if is_last else nullcontext():
                    torch.autograd.backward(tensors, scaled)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if self.token_rows is not None:
            self.token_rows.finish_step(learning_rate * self.recipe.weight_decay)
        self.batchnorm.finish_step(per_step)
        with torch.no_grad():
            self.model.logit_scale.clamp_(math.log(MIN_INV_TEMPERATURE), math.log(MAX_INV_TEMPERATURE))
        return loss.detach()

    def _embed(self, micro_batch: tuple[Tensor, Tensor], index: int) -> tuple[Tensor, Tensor, Tensor]:
        """Normalized image and text embeddings (B, d), and 1/τ."""
        pixels, tokens = micro_batch
        self._seed(int(np.random.SeedSequence([self.run.seed, index]).generate_state(1)[0]))
        if self.recipe.compile:  # for every length of the captions at once
            torch._dynamo.maybe_mark_dynamic(tokens, 1)
        with encoder_autocast(self.recipe.precision, self.context.device):
            return self.model(normalize_pixels(pixels), tokens)

    def _seed(self, seed: int) -> None:
        """`torch.manual_seed` for this device only; for all, it is slow on a machine without a GPU."""
        if self.context.device.type == "cuda":
            torch.cuda.manual_seed(seed)
        torch.default_generator.manual_seed(seed)

    def _on_device(self, micro_batches: Sequence[tuple[Tensor, Tensor]]) -> Iterator[tuple[Tensor, Tensor]]:
        """The micro-batches on the device; while one is in use, the next one is being copied."""
        if self._copy_stream is None:
            yield from micro_batches
            return
        stream = torch.cuda.current_stream(self.context.device)
        copies: list[tuple[Tensor, Tensor, torch.cuda.Event]] = []
        for number in range(len(micro_batches)):
            for micro_batch in micro_batches[number + len(copies) : number + 2]:
                with torch.cuda.stream(self._copy_stream):
                    pixels, tokens = (part.to(self.context.device, non_blocking=True) for part in micro_batch)
                copies.append((pixels, tokens, self._copy_stream.record_event()))
            pixels, tokens, copied = copies.pop(0)
            stream.wait_event(copied)
            for part in (pixels, tokens):
                part.record_stream(stream)  # its memory is reused only after the work in progress
            yield pixels, tokens

    def _casting_once(self) -> torch.autocast:
        """Within this context, autocast casts each weight once instead of once per micro-batch.

        The casts are kept until the outermost context ends. The passes with and without grad need one each.
        """
        return torch.autocast(self.context.device.type, enabled=False)

    def _state_of_rows(self, optimizer: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """The index of the token embeddings in the state of the optimizer, and their state."""
        assert self.token_rows is not None
        parameters = [value for group in self.optimizer.param_groups for value in group["params"]]
        [index] = [number for number, value in enumerate(parameters) if value is self.token_rows.rows]
        return index, optimizer["state"].get(index, {})


def _concatenate_detached(parts: list[Tensor]) -> Tensor:
    """One leaf tensor, at least float32: the loss and its gradient are never computed in half precision."""
    joined = torch.cat(parts).detach()
    return joined.to(torch.promote_types(joined.dtype, torch.float32)).requires_grad_()
