"""Many items through a model, batch by batch, on every device: read in other processes, the order kept."""

from collections import deque
from collections.abc import Callable, Sequence
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import BatchSampler, SequentialSampler
from tqdm import tqdm

from cloob.common.data_loading import BatchLoader, kill_workers_on_exit
from cloob.common.errors import InputError

Tensors = dict[str, Tensor]


class Embedder:
    """A model on one or more devices, each with whole batches: their number changes no bit of what comes out.

    `precision` is float32 (without TF32) or bfloat16 (autocast); `workers` processes read the items.
    """

    def __init__(
        self, model: nn.Module, devices: list[torch.device], batch_size: int, workers: int, precision: str
    ) -> None:
        self.devices, self.batch_size, self.workers, self.precision = devices, batch_size, workers, precision
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False
        self._replicas = [model.to(devices[0]), *(deepcopy(model).to(device) for device in devices[1:])]

    @kill_workers_on_exit()
    @torch.inference_mode()
    def embed(
        self,
        items: Sequence[Any],
        title: str,
        read: Callable[[Any], Any],
        collate: Callable[[list[Any]], Tensor],
        encode: Callable[[Any, Tensor], Tensors],
    ) -> Tensors:
        """What `encode(model, batch)` makes of all items, as float32 on the CPU, with progress under `title`.

        `collate` makes a batch of what `read` gives for each item. Raises the first `InputError` of `read`.
        """
        batches = BatchSampler(SequentialSampler(items), self.batch_size, drop_last=False)
        pin_memory = self.devices[0].type == "cuda"
        loader = BatchLoader(_Read(items, read), collate, batches, self.workers, pin_memory)
        running: deque[Tensors] = deque()  # a GPU computes while the next one is given its batch
        kept: Tensors = {}
        filled = 0
        for number, batch in enumerate(tqdm(loader, desc=title, unit="batch_size", mininterval=1)):
            place = number % len(self.devices)
            device = self.devices[place]
            with torch.autocast(device.type, torch.bfloat16, enabled=self.precision == "bfloat16"):
                running.append(encode(self._replicas[place], batch.to(device, non_blocking=True)))
            if len(running) > len(self.devices):
                filled = _keep(running.popleft(), kept, filled, len(items))
        for tensors in running:
            filled = _keep(tensors, kept, filled, len(items))
        return kept


def devices_of(device: str) -> list[torch.device]:
    """`auto`, `cpu` or `cuda` -> the devices to use: all GPUs that torch sees, else the CPU."""
    if device == "cpu" or (device == "auto" and not torch.cuda.is_available()):
        return [torch.device("cpu")]
    if not torch.cuda.is_available():
        raise InputError("--device cuda: torch finds no GPU here; use --device cpu or auto")
    return [torch.device("cuda", number) for number in range(torch.cuda.device_count())]


class _Read:
    """What `read` gives for an item, by its index."""

    def __init__(self, items: Sequence[Any], read: Callable[[Any], Any]) -> None:
        self.items, self.read = items, read

    def __getitem__(self, index: int) -> Any:
        return self.read(self.items[index])


def _keep(tensors: Tensors, kept: Tensors, filled: int, count: int) -> int:
    """Put a batch into its place among all `count` rows: batches in a list would need them twice."""
    for name, tensor in tensors.items():
        if name not in kept:
            kept[name] = torch.empty(count, *tensor.shape[1:])
        kept[name][filled : filled + len(tensor)] = tensor
    return filled + len(tensor)
