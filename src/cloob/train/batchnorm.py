"""BatchNorm running statistics that do not depend on the number of processes."""

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
    """

    def __init__(self, model: nn.Module) -> None:
        self._num_batches: list[Tensor] = []
        self._running: list[Tensor] = []
        self._momenta: list[float] = []
        for layer in model.modules():
            if not isinstance(layer, _BatchNorm) or not layer.track_running_stats or layer.momentum is None:
                continue
            assert layer.running_mean is not None and layer.running_var is not None
            assert layer.num_batches_tracked is not None
            self._num_batches.append(layer.num_batches_tracked)
            self._running += [layer.running_mean, layer.running_var]
            self._momenta += [layer.momentum] * 2
            layer.momentum = 1.0  # a forward pass stores the statistics of its micro-batch alone

    def start_step(self) -> None:
        """Call before the first micro-batch of a step."""
        self._old_running = [running.clone() for running in self._running]
        self._old_num_batches = [number.clone() for number in self._num_batches]
        self._sums = [torch.zeros_like(running) for running in self._running]

    def add_micro_batch(self) -> None:
        """Call after the first forward pass of each micro-batch."""
        if self._running:
            torch._foreach_add_(self._sums, self._running)

    def finish_step(self, micro_batches: int) -> None:
        """Call after the last forward pass of a step; `micro_batches` is their number over all processes."""
        if not self._running:
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
