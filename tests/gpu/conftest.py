"""The device of the GPU tests: the first GPU or, with CLOOB_TEST_DEVICE=cpu, the CPU at a small size."""

import os
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from cloob.train.distributed import DistributedContext

ON_CPU = os.environ.get("CLOOB_TEST_DEVICE") == "cpu"
if ON_CPU:
    os.environ["CUDA_VISIBLE_DEVICES"] = ""  # also for the processes that the tests start
    torch.set_num_threads(1)


NO_DEVICE = "needs a CUDA device; with CLOOB_TEST_DEVICE=cpu, small versions run on the CPU"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark all tests below this folder."""
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.gpu)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Report the missing device in one line for all tests: pytest groups skipped tests by place."""
    report = yield
    if report.skipped and isinstance(report.longrepr, tuple) and NO_DEVICE in report.longrepr[2]:
        report.longrepr = (__file__, 0, report.longrepr[2])
    return report


@pytest.fixture(scope="session", autouse=True)
def device() -> torch.device:
    """The device under test."""
    if ON_CPU:
        return torch.device("cpu")
    if not torch.cuda.is_available():
        pytest.skip(NO_DEVICE)
    return torch.device("cuda", 0)


@pytest.fixture(scope="module")
def contexts(device: torch.device) -> Iterator[dict[str, DistributedContext]]:
    """The only process of a process group, on the device under test ("device") and on the CPU ("cpu")."""
    backend = "gloo" if ON_CPU else "cpu:gloo,cuda:nccl"
    dist.init_process_group(backend, store=dist.HashStore(), rank=0, world_size=1)
    yield {
        "device": DistributedContext(0, 1, device),
        "cpu": DistributedContext(0, 1, torch.device("cpu")),
    }
    dist.destroy_process_group()


@contextmanager
def backend_flags_restored() -> Iterator[None]:
    """Restore TF32 and cuDNN's choice of algorithms at the end of the `with` block."""
    flags = [
        (torch.backends.cudnn, "allow_tf32"),
        (torch.backends.cudnn, "deterministic"),
        (torch.backends.cudnn, "benchmark"),
        (torch.backends.cuda.matmul, "allow_tf32"),
    ]
    values = [getattr(backend, name) for backend, name in flags]
    try:
        yield
    finally:
        for (backend, name), value in zip(flags, values, strict=True):
            setattr(backend, name, value)


@pytest.fixture
def no_tf32() -> Iterator[None]:
    """Full float32 products and convolutions, for comparisons with the CPU."""
    with backend_flags_restored():
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
        yield
