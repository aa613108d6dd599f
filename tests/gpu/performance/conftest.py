"""The process group of a training process, and the size of the measurements."""

import os
import platform
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
import torch

from cloob.common.provenance import current_commit
from cloob.train.distributed import DistributedContext, init_distributed
from tests.gpu.conftest import ON_CPU
from tests.gpu.results import record
from tests.gpu.small_training import ARCHITECTURE


@dataclass(frozen=True)
class Size:
    """True size on a GPU, and a small one that runs on a CPU in seconds."""

    architectures: dict[str, str]
    """Names and open_clip models, the first one measured in detail."""
    batch_size: int
    micro_batch_sizes: tuple[int, ...]
    large_batch_size: int
    objective_sizes: tuple[int, ...]
    embedding_width: int
    matrix: int
    """Rows and columns of the matrix products whose rate is measured."""
    pairs: int
    """Pairs in the shards that the loader reads."""
    workers: tuple[int, ...]
    steps: int
    """Timed steps of a measurement."""


TRUE_SIZE = Size(
    architectures={"RN50": "RN50-quickgelu", "RN101": "RN101-quickgelu", "RN50x4": "RN50x4-quickgelu"},
    batch_size=512,
    micro_batch_sizes=(128, 256, 512),
    large_batch_size=1024,
    objective_sizes=(512, 1024, 2048, 4096, 8192, 16384, 32768),
    embedding_width=1024,
    matrix=8192,
    pairs=16384,  # 32 steps, so that no measured run reaches the end of an epoch
    workers=(2, 4, 8, 16),
    steps=6,
)
SMALL_SIZE = Size(
    architectures={"RN_small": ARCHITECTURE},
    batch_size=16,
    micro_batch_sizes=(4, 16),
    large_batch_size=32,
    objective_sizes=(64, 160),
    embedding_width=32,
    matrix=256,
    pairs=64,
    workers=(1, 2),
    steps=2,
)


@pytest.fixture(scope="session")
def size() -> Size:
    return SMALL_SIZE if ON_CPU else TRUE_SIZE


@pytest.fixture(scope="module")
def context(device: torch.device) -> Iterator[DistributedContext]:
    """The only process of a process group, as `cloob train` makes it."""
    with init_distributed() as joined:
        yield joined


@pytest.fixture(scope="session", autouse=True)
def recorded_machine(device: torch.device) -> None:
    """Record the machine once."""
    machine = {
        "device": platform.processor() or "cpu",
        "devices": 1,
        "cpu_cores": len(os.sched_getaffinity(0)),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "commit": current_commit(),
    }
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        machine |= {
            "device": properties.name,
            "devices": torch.cuda.device_count(),
            "memory_gb": properties.total_memory / 1e9,
            "cuda": torch.version.cuda,
            "cudnn": torch.backends.cudnn.version(),
        }
    record("machine", machine)
