"""Time and memory of device work, which is asynchronous."""

import statistics
import time
from collections.abc import Callable

import torch


def synchronize(device: torch.device) -> None:
    """Wait for the work that was submitted to the device."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds_per_call(
    function: Callable[[], object], device: torch.device, *, warmup: int = 2, turns: int = 3, calls: int = 1
) -> float:
    """The median over `turns` of the mean time of `calls` calls without a wait in between."""
    for _ in range(warmup):
        function()
    times = []
    for _ in range(turns):
        synchronize(device)
        start = time.perf_counter()
        for _ in range(calls):
            function()
        synchronize(device)
        times.append((time.perf_counter() - start) / calls)
    return statistics.median(times)


def peak_megabytes(function: Callable[[], object], device: torch.device) -> float | None:
    """Peak device memory of a call beyond what is allocated before it, in MB; None on the CPU."""
    if device.type != "cuda":
        function()
        return None
    torch.cuda.synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    function()
    torch.cuda.synchronize(device)
    return (torch.cuda.max_memory_allocated(device) - before) / 1e6
