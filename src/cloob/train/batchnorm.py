"""BatchNorm's running statistics by a rule that knows no processes."""

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


class RunningStatistics:
    """The running mean and variance of every BatchNorm layer of a model that trains.

    Each micro-batch is normalized by its own statistics, as on a GPU of the authors'. A step moves the
    running ones by the layer's momentum m towards the mean over all micro-batches of the step:
    r <- (1 - m) r + m/M (s_1 + ... + s_M). (DistributedDataParallel would take those of the first process,
    that is of some of the micro-batches.)
    """

    def __init__(self, model: nn.Module) -> None:
        self._layers = [
            layer
            for layer in model.modules()
            if isinstance(layer, _BatchNorm) and layer.track_running_stats and layer.momentum is not None
        ]
        self._momenta = [layer.momentum for layer in self._layers for _ in range(2)]
        for layer in self._layers:
            layer.momentum = 1.0  # a forward pass leaves its micro-batch's statistics, unmixed
        self._seen = [layer.num_batches_tracked for layer in self._layers]
        self._running = [r for layer in self._layers for r in (layer.running_mean, layer.running_var)]

    def begin(self) -> None:
        """Before the first micro-batch of a step."""
        self._kept, self._kept_seen = [[one.clone() for one in some] for some in (self._running, self._seen)]
        self._sums = [torch.zeros_like(one) for one in self._running]

    def count(self) -> None:
        """After the forward pass of a micro-batch that counts."""
        if self._layers:
            torch._foreach_add_(self._sums, self._running)

    def end(self, micro_batches: int) -> None:
        """After the last pass of a step of so many micro-batches, over all processes."""
        if not self._layers:
            return
        means = torch.cat(self._sums)
        dist.all_reduce(means)
        means /= micro_batches
        pieces = means.split([len(one) for one in self._running])
        for running, kept, mean, momentum in zip(
            self._running, self._kept, pieces, self._momenta, strict=True
        ):
            torch.lerp(kept, mean, momentum, out=running)
        for seen, kept in zip(self._seen, self._kept_seen, strict=True):
            torch.add(kept, 1, out=seen)
