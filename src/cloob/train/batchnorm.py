"""BatchNorm running statistics that do not depend on the number of processes."""

from itertools import pairwise
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


class BatchNormStatistics:
    """The running mean and variance of all BatchNorm layers of a model in training.

    Each micro-batch is normalized with its own statistics, as on each GPU in the authors' code. A step moves
    the running statistics r by the layer's momentum m towards the mean over all M micro-batches of the step:
    r <- (1 - m) r + m/M (s_1 + ... + s_M). (DistributedDataParallel would keep the statistics of the first
    process, which sees only some of the micro-batches.)

    The buffers of the layers become parts of one tensor, because hundreds of kernels on small tensors would
    keep a GPU waiting. For the same reason the layers do not count their batches within a step.
    """

    def __init__(self, model: nn.Module) -> None:
        layers: list[Any] = [layer for layer in model.modules() if _is_tracking(layer)]
        layers.sort(key=lambda layer: layer.momentum)
        self._layers = layers
        self._counts = _join([layer.num_batches_tracked for layer in layers])
        self._running = _join(
            [buffer for layer in layers for buffer in (layer.running_mean, layer.running_var)]
        )
        self._parts: list[tuple[float, slice]] = []  # of each momentum
        momenta = [layer.momentum for layer in layers for _ in range(2 * layer.num_features)]
        bounds = [n for n, value in enumerate(momenta) if n == 0 or value != momenta[n - 1]]
        for start, stop in pairwise([*bounds, len(momenta)]):
            self._parts.append((momenta[start], slice(start, stop)))
        for layer in layers:
            layer.momentum = 1.0  # a forward pass stores the statistics of its micro-batch alone

    def start_step(self) -> None:
        """Call before the first micro-batch of a step."""
        self._old_running = self._running.clone()
        self._sum = torch.zeros_like(self._running)
        self._numbers = [layer._buffers["num_batches_tracked"] for layer in self._layers]
        for layer in self._layers:
            layer._buffers["num_batches_tracked"] = None

    def add_micro_batch(self) -> None:
        """Call after the first forward pass of each micro-batch."""
        self._sum += self._running

    def finish_step(self, micro_batches: int) -> None:
        """Call after the last forward pass of a step; `micro_batches` is their number over all processes."""
        if not self._layers:
            return
        if dist.get_world_size() > 1:
            dist.all_reduce(self._sum)
        self._sum /= micro_batches
        for momentum, part in self._parts:
            torch.lerp(self._old_running[part], self._sum[part], momentum, out=self._running[part])
        for layer, number in zip(self._layers, self._numbers, strict=True):
            layer._buffers["num_batches_tracked"] = number
        self._counts += 1


def _is_tracking(layer: nn.Module) -> bool:
    return isinstance(layer, _BatchNorm) and layer.track_running_stats and layer.momentum is not None


def _join(buffers: list[Tensor]) -> Tensor:
    """One tensor with the values of all buffers, which become its parts."""
    if not buffers:
        return torch.empty(0)
    joined = torch.cat([buffer.flatten() for buffer in buffers])
    for buffer, part in zip(buffers, joined.split([buffer.numel() for buffer in buffers]), strict=True):
        buffer.set_(part.view(buffer.shape))
    return joined
