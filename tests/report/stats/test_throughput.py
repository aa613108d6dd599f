"""Training throughput from the events of a log."""

import pandas as pd

from cloob.report.stats.throughput import Throughput, rates_per_process, throughput


def test_rates_are_per_process_of_the_latest_start() -> None:
    step = {"event": "step", "samples_per_second": 120.0}
    events = [{"event": "start", "processes": 4}, step, {"event": "validation"}]
    events += [{"event": "start", "processes": 2}, step, {"event": "step"}]
    assert rates_per_process(events) == [30.0, 60.0]
    assert rates_per_process([step]) == [120.0]


def test_throughput_is_the_median_over_steps() -> None:
    steps = pd.DataFrame(
        {
            "samples_per_second": [100.0, 300.0, 200.0],
            "rate_per_process": [50.0, 150.0, 100.0],
            "batch_seconds": [2.0, 1.0, 3.0],
            "data_seconds": [1.0, 0.5, 0.0],
        }
    )
    assert throughput(steps) == Throughput(200.0, 100.0, 2.0, waiting_seconds=1.5, total_seconds=6.0)
    assert throughput(steps).waiting_fraction == 0.25
