"""BatchNorm running statistics that do not depend on the number of processes."""

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


class BatchNormStatistics:
    """The running mean and variance of all BatchNorm layers of a model in training.

    Each micro-batch is normalized with its own statistics, as on each GPU in the authors' code. A step moves
    the running statistics r by the layer's momentum m towards the mean over all M micro-batches of the step:
    r <- (1 - m) r + m/M (s_1 + ... + s_M). (DistributedDataParallel would use those of the first process,
    that is, of some of the micro-batches.)
    """

    def __init__(self, model: nn.Module) -> None:
        self._layers = [
            layer
            for layer in model.modules()
            if isinstance(layer, _BatchNorm) and layer.track_running_stats and layer.momentum is not None
        ]
        self._momenta = [layer.momentum for layer in self._layers for _ in range(2)]
        for layer in self._layers:
            layer.momentum = 1.0  # a forward pass stores the statistics of its micro-batch unmixed
        self._num_batches = [layer.num_batches_tracked for layer in self._layers]
        self._running = [r for layer in self._layers for r in (layer.running_mean, layer.running_var)]

    def start_step(self) -> None:
        """Call before the first micro-batch of a step."""
        self._old_running = [running.clone() for running in self._running]
        self._old_num_batches = [number.clone() for number in self._num_batches]
        self._sums = [torch.zeros_like(running) for running in self._running]

    def add_micro_batch(self) -> None:
        """Call after the first forward pass of each micro-batch."""
        if self._layers:
            torch._foreach_add_(self._sums, self._running)

    def finish_step(self, micro_batches: int) -> None:
        """Call after the last forward pass of a step of `micro_batches`, counted over all processes."""
        if not self._layers:
            return
        means = torch.cat(self._sums)
        dist.all_reduce(means)
        means /= micro_batches
        layer_means = means.split([len(running) for running in self._running])
        for running, old, mean, momentum in zip(
            self._running, self._old_running, layer_means, self._momenta, strict=True
        ):
            torch.lerp(old, mean, momentum, out=running)
        for number, old in zip(self._num_batches, self._old_num_batches, strict=True):
            torch.add(old, 1, out=number)
