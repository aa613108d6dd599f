"""The rates of the device that other measurements are compared with."""

import pytest
import torch

from tests.gpu.performance.conftest import Size
from tests.gpu.results import record
from tests.gpu.timing import seconds_per_call

PRECISIONS = {"bfloat16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32}


@pytest.mark.parametrize("precision", PRECISIONS)
def test_matrix_rate_is_measured(device: torch.device, size: Size, precision: str) -> None:
    left, right = torch.randn(2, size.matrix, size.matrix, device=device, dtype=PRECISIONS[precision])
    out = torch.empty_like(left)
    seconds = seconds_per_call(lambda: torch.mm(left, right, out=out), device, turns=5, calls=5)
    record("rates", {"name": precision, "tflops": 2 * size.matrix**3 / seconds / 1e12})
    assert torch.isfinite(out).all()


def test_copy_rate_is_measured(device: torch.device, size: Size) -> None:
    source = torch.randn(8, size.matrix, size.matrix, device=device)
    target = torch.full_like(source, torch.nan)
    seconds = seconds_per_call(lambda: target.copy_(source), device, turns=5, calls=5)
    record("rates", {"name": "copy", "gb_per_second": 2 * source.nbytes / seconds / 1e9})
    assert torch.equal(target, source)
