"""No N×N matrix is stored: peak memory of a process beyond the embeddings and their gradients."""

import subprocess
import sys

import pytest

from tests.helpers.repository import ROOT

BENCHMARK = ROOT / "benchmarks" / "objective.py"


def extra_megabytes(number, objective):
    """Peak memory of a forward and a backward pass, d = 512, float32, in a separate process."""
    command = [sys.executable, BENCHMARK, "--memory-of", "ours", "--sizes", str(number)]
    command += ["--width", "512", "--device", "cpu", "--objective", objective]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(done.stdout)


@pytest.mark.parametrize("objective", ["clip", "cloob"])
def test_8192_pairs_need_less_memory_than_one_matrix_of_scores(objective):
    assert extra_megabytes(8192, objective) <= 256


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("objective", ["clip", "cloob"])
def test_32768_pairs_need_at_most_1200_megabytes(objective):
    assert extra_megabytes(32768, objective) <= 1200
