"""Encode a sequence of items in batches, on all devices, with parallel loading; the order is preserved."""

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
    """A model replicated on one or more devices.

    Each device processes whole batches, so the output is bit-identical for any number of devices.
    `precision` is float32 (TF32 disabled) or bfloat16 (autocast); `workers` processes load the items.
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
        load: Callable[[Any], Any],
        collate: Callable[[list[Any]], Tensor],
        encode: Callable[[Any, Tensor], Tensors],
    ) -> Tensors:
        """The outputs of `encode(model, batch)` for all items, float32 on the CPU, in the order of `items`.

        `load` is applied to each item, `collate` to a list of loaded items; `title` labels the progress bar.
        Raises the first `InputError` of `load`.
        """
        batches = BatchSampler(SequentialSampler(items), self.batch_size, drop_last=False)
        pin_memory = self.devices[0].type == "cuda"
        loader = BatchLoader(_Items(items, load), collate, batches, self.workers, pin_memory)
        pending: deque[Tensors] = deque()  # a GPU computes while the next one receives its batch
        outputs: Tensors = {}
        offset = 0
        for index, batch in enumerate(tqdm(loader, desc=title, unit="batch", mininterval=1)):
            replica = index % len(self.devices)
            device = self.devices[replica]
            with torch.autocast(device.type, torch.bfloat16, enabled=self.precision == "bfloat16"):
                pending.append(encode(self._replicas[replica], batch.to(device, non_blocking=True)))
            if len(pending) > len(self.devices):
                offset = _write_rows(pending.popleft(), outputs, offset, len(items))
        for tensors in pending:
            offset = _write_rows(tensors, outputs, offset, len(items))
        return outputs


def select_devices(device: str) -> list[torch.device]:
    """`auto`, `cpu` or `cuda` -> the devices to use: all visible GPUs, else the CPU. Raises `InputError`."""
    if device == "cpu" or (device == "auto" and not torch.cuda.is_available()):
        return [torch.device("cpu")]
    if not torch.cuda.is_available():
        raise InputError("--device cuda: torch detects no GPU; use --device cpu or auto")
    return [torch.device("cuda", index) for index in range(torch.cuda.device_count())]


class _Items:
    """A map-style dataset: `load` applied to the item at an index."""

    def __init__(self, items: Sequence[Any], load: Callable[[Any], Any]) -> None:
        self.items, self.load = items, load

    def __getitem__(self, index: int) -> Any:
        return self.load(self.items[index])


def _write_rows(tensors: Tensors, outputs: Tensors, offset: int, total: int) -> int:
    """Copy a batch into preallocated outputs of `total` rows (concatenating would need twice the memory)."""
    for name, tensor in tensors.items():
        if name not in outputs:
            outputs[name] = torch.empty(total, *tensor.shape[1:])
        outputs[name][offset : offset + len(tensor)] = tensor
    return offset + len(tensor)
