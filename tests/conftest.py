"""Tiers of the tests: everything, or without the marker `integration` (`make test-fast`)."""

import os
import signal
from pathlib import Path

import pytest

# Before torch is imported: one thread per process, as in `make test`.
os.environ.setdefault("OMP_NUM_THREADS", "1")

TESTS = Path(__file__).parent
# Files whose tests train models, start Snakemake, linters or downloads, or need large models or much memory.
# In this order they run first: the longest must not start last.
INTEGRATION = (
    "slurm/test_pipeline.py",
    "train/test_failures.py",
    "workflow/test_end_to_end.py",
    "models/test_released.py",
    "report/figures/test_figures.py",
    "train/test_resume.py",
    "train/test_runs.py",
    "train/test_invalid_runs.py",
    "train/test_graceful_stop.py",
    "train/test_rendezvous.py",
    "docs/test_extending.py",
    "train/test_local_copy_runs.py",
    "download/fetch/test_hostile_servers.py",
    "download/fetch/test_part.py",
    "download/fetch/test_kill.py",
    "report/test_hostile_text.py",
    "report/check/test_pages.py",
    "shards/test_pack.py",
    "evaluate/protocols/test_linear_probe.py",
    "workflow/test_sources.py",
    "workflow/test_released.py",
    "workflow/test_hostile_report.py",
    "workflow/test_plan.py",
    "workflow/test_preflight.py",
    "workflow/test_scheduling.py",
    "workflow/test_report_plan.py",
    "workflow/test_shell_commands.py",
    "workflow/test_toy_data.py",
    "workflow/test_your_corpus.py",
    "workflow/test_make.py",
    "objectives/test_memory.py",
    "objectives/test_distributed.py",
    "shards/test_shuffle.py",
    "train/test_start.py",
    "train/test_step_launches.py",
    "docs/test_using_models.py",
    "slurm/test_faults.py",
)

# The children of a shell's background job ignore SIGINT, which tests send to processes that they start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of `INTEGRATION` and move them to the front."""
    order = {TESTS / name: position for position, name in enumerate(INTEGRATION)}
    for item in items:
        if item.path in order:
            item.add_marker(pytest.mark.integration)
    items.sort(key=lambda item: order.get(item.path, len(order)))
