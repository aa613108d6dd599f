"""The tables of docs/performance.md are those of its data."""

import json
import runpy
from typing import Any

import pytest

from tests.helpers.repository import ROOT

UPDATE = runpy.run_path(str(ROOT / "docs" / "performance" / "update.py"))
PAGE = UPDATE["PAGE"].read_text(encoding="utf-8")


def step(**changes: Any) -> dict[str, Any]:
    entry = {"step": "ours", "architecture": "RN50", "objective": "cloob", "precision": "bfloat16"}
    entry |= {"batch_size": 512, "micro_batch_size": 128, "pairs_per_second": 1000.0, "milliseconds": 512.0}
    return entry | {"memory_gb": 20.0, "tflops": 70.0} | changes


def report() -> dict[str, list[dict[str, Any]]]:
    return {
        "machine": [{"devices": 1, "device": "GPU", "cpu_cores": 16, "torch": "2", "commit": "0123456789ab"}],
        "rates": [{"name": "bfloat16", "tflops": 700.0}],
        "step": [step(), step(batch_size=1024, pairs_per_second=2000.0)],
        "loss": [{"objective": "cloob", "batch_size": 512, "milliseconds": 5.12}],
        "loader": [{"workers": 2, "pairs_per_second": 1200.0}, {"workers": 4, "pairs_per_second": 2300.0}],
    }


def test_page_shows_its_data() -> None:
    if not UPDATE["DATA"].exists():
        assert PAGE.count("Not measured yet") == len(UPDATE["SECTIONS"])
        return
    data = json.loads(UPDATE["DATA"].read_text(encoding="utf-8"))
    assert UPDATE["render"](PAGE, data) == PAGE, "run `python docs/performance/update.py results/gpu.json`"


@pytest.mark.parametrize("name", UPDATE["SECTIONS"])
def test_every_section_has_a_place_and_accepts_an_empty_report(name: str) -> None:
    assert PAGE.count(f"<!-- {name} -->") == 1
    assert UPDATE["SECTIONS"][name]({"machine": report()["machine"]})


def test_gpu_hours_follow_from_the_measured_rate() -> None:
    lines = UPDATE["gpu_hours"](report()).splitlines()
    [cc3m] = [line for line in lines if "cc3m, RN50" in line]
    [yfcc] = [line for line in lines if "yfcc15m, RN50 " in line]
    hours = 2.89e6 * 128 / 1000 / 3600  # 102.76
    assert f"| {hours:,.0f} | 10 | {10 * hours:,.0f} |" in cc3m
    assert f"| {14.8e6 * 28 / 2000 / 3600:.1f} | 2 |" in yfcc
    assert "not measured" in next(line for line in lines if "RN101" in line)


def test_workers_are_the_fewest_that_load_a_quarter_faster_than_training() -> None:
    assert "`train.workers: 4`" in UPDATE["workers"](report())
    slow = report() | {"loader": [{"workers": 2, "pairs_per_second": 1200.0}]}
    assert "No measured `train.workers`" in UPDATE["workers"](slow)


def test_shares_refer_to_the_measured_rates() -> None:
    assert UPDATE["steps"](report()).splitlines()[2].endswith("| 10.0% |")
    assert UPDATE["losses"](report()).splitlines()[2].endswith("| 5.12 | 1.0% |")
