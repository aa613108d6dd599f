"""Observes the steps of the training loop from outside: it asks once per step whether to stop."""

import json
import time
import warnings
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile, record_function

from cloob.train.signals import StopRequest

# The first and last step of a phase, counted from 1, and the context to enter for it.
Phase = tuple[int, int, Callable[[], AbstractContextManager]]
# Marks the steps in a trace: before and after them, the profiler itself waits for the device.
STEPS = "profiled steps"
BLOCKING_CALLS = {"cudaStreamSynchronize", "cudaDeviceSynchronize", "cudaEventSynchronize"}


class StepProbe(StopRequest):
    """A stop request that counts the steps, enters a context for some of them, and then stops the run.

    The run stops after `steps` steps.
    """

    def __init__(self, steps: int, phases: list[Phase]) -> None:
        self.steps, self.phases = steps, phases
        self.times: list[float] = []
        """The time after each step, when the loop has submitted its work."""
        self._open: dict[int, ExitStack] = {}

    @property
    def requested(self) -> bool:  # type: ignore[override]
        self.times.append(time.perf_counter())
        done = len(self.times)
        for number, (first, last, enter) in enumerate(self.phases):
            if done == last and number in self._open:
                self._open.pop(number).close()
            if done == first - 1:
                self._open[number] = ExitStack()
                self._open[number].enter_context(enter())
        return done >= self.steps


class CountedWork:
    """Kernels, blocking calls and collectives of the steps in the `with` block, by PyTorch's profiler."""

    def __init__(self, device: torch.device, trace: Path) -> None:
        self.trace = trace
        cuda = device.type == "cuda"
        self.device = device
        self._profile = profile(activities=[ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * cuda)
        self._steps = record_function(STEPS)

    def __enter__(self) -> "CountedWork":
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        self._profile.__enter__()
        self._steps.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._steps.__exit__(*error)
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        self._profile.__exit__(*error)
        self._profile.export_chrome_trace(str(self.trace))

    def summary(self, steps: int) -> dict[str, Any]:
        """Counts per step, and the kernels that take the most time."""
        events = json.loads(self.trace.read_text(encoding="utf-8"))["traceEvents"]
        events = [event for event in events if event.get("ph") == "X"]
        kernels = [event for event in events if event.get("cat") == "kernel"]
        copies = Counter(event["name"] for event in events if event.get("cat") == "gpu_memcpy")
        [marked] = [event for event in events if event["name"] == STEPS and event["cat"] == "user_annotation"]
        calls = Counter(
            event["name"]
            for event in events
            if event.get("cat") in ("cuda_runtime", "cuda_driver")
            and marked["ts"] <= event["ts"] <= marked["ts"] + marked["dur"]
        )
        operations = Counter(event["name"] for event in events if event.get("cat") == "cpu_op")
        collectives = {name: count for name, count in operations.items() if name.startswith("c10d::")}
        times: Counter[str] = Counter()
        for event in kernels:
            times[event["name"]] += event["dur"]
        number_of = Counter(event["name"] for event in kernels)
        return {
            "kernels": len(kernels) / steps,
            "kernel_milliseconds": sum(times.values()) / 1e3 / steps,
            "short_kernels": sum(event["dur"] < 10 for event in kernels) / steps,
            "launches": sum(n for name, n in calls.items() if "Launch" in name) / steps,
            "blocking_calls": {
                name: count / steps for name, count in calls.items() if name in BLOCKING_CALLS
            },
            "copies": {name: count / steps for name, count in copies.items()},
            "operations": sum(operations.values()) / steps,
            "collectives": {name: count / steps for name, count in collectives.items()},
            "top_kernels": [
                {"name": name[:160], "milliseconds": time / 1e3 / steps, "calls": number_of[name] / steps}
                for name, time in times.most_common(25)
            ],
        }


class CountedSynchronizations:
    """The places in the sources at which the host waits for the device, from PyTorch's sync debug mode."""

    def __init__(self, device: torch.device) -> None:
        self.device, self._stack = device, ExitStack()
        self._caught: list[warnings.WarningMessage] = []

    def __enter__(self) -> "CountedSynchronizations":
        self._caught = self._stack.enter_context(warnings.catch_warnings(record=True))
        warnings.simplefilter("always")
        if self.device.type == "cuda":
            torch.cuda.set_sync_debug_mode("warn")
        return self

    def __exit__(self, *error: Any) -> None:
        if self.device.type == "cuda":
            torch.cuda.set_sync_debug_mode("default")
        self._stack.close()

    def places(self, steps: int) -> dict[str, float]:
        """Synchronizations per step, by file and line."""
        found = Counter(
            "/".join(Path(caught.filename).parts[-3:]) + f":{caught.lineno}"
            for caught in self._caught
            if "synchroniz" in str(caught.message) and "prototype" not in str(caught.message)
        )
        return {place: count / steps for place, count in found.most_common()}
