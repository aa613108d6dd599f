"""Training throughput from the events of a log; also used to estimate the cost of planned runs."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # planning the workflow must not wait for this import
    import pandas as pd


def rates_per_process(events: Iterable[Mapping[str, Any]]) -> list[float]:
    """Pairs per second and process of every step that has a rate.

    A run may resume with another number of processes: each step uses the number that it ran on. Steps of
    older versions do not have it and use that of the start before them.
    """
    rates, processes = [], 1
    for event in events:
        processes = event.get("processes", processes)
        if event["event"] == "step" and "samples_per_second" in event:
            rates.append(event["samples_per_second"] / processes)
    return rates


@dataclass(frozen=True)
class Throughput:
    """Medians over steps, the total time of all steps, and the time spent waiting for data."""

    pairs_per_second: float
    pairs_per_second_and_process: float
    step_seconds: float
    waiting_seconds: float
    total_seconds: float

    @property
    def waiting_fraction(self) -> float:
        """The fraction of the time spent waiting for data."""
        return self.waiting_seconds / self.total_seconds


def throughput(steps: "pd.DataFrame") -> Throughput:
    """Summarize the steps of a log (`cloob.report.load.logs.Log.timing`)."""
    return Throughput(
        pairs_per_second=steps.samples_per_second.median(),
        pairs_per_second_and_process=steps.rate_per_process.median(),
        step_seconds=steps.batch_seconds.median(),
        waiting_seconds=steps.data_seconds.sum(),
        total_seconds=steps.batch_seconds.sum(),
    )
