"""Values, time and memory of the objectives up to 32,768 pairs, against a float64 reference."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from cloob.objectives.losses import contrastive_loss
from cloob.objectives.registry import OBJECTIVES
from tests.gpu.conftest import ON_CPU
from tests.gpu.performance.conftest import SMALL_SIZE, TRUE_SIZE, Size
from tests.gpu.results import record
from tests.gpu.small_training import relative_error
from tests.gpu.timing import peak_megabytes, seconds_per_call
from tests.helpers import blocked_oracle

INV_TEMPERATURE, BETA = 30.0, 8.0
# The fewest matrix products of 2·N²·d operations, with and without retrieval (benchmarks/objective.py).
MIN_PRODUCTS = {True: 24, False: 3}
SIZES = (SMALL_SIZE if ON_CPU else TRUE_SIZE).objective_sizes


def make_pairs(number: int, width: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Unit vectors (number, width) for images and texts; row i of both is correlated."""
    generator = torch.Generator(device).manual_seed(number)
    common, *noise = torch.randn(3, number, width, generator=generator, device=device)
    image, text = (F.normalize(common + part, dim=1).requires_grad_() for part in noise)
    return image, text


def seconds_per_product(number: int, width: int, device: torch.device) -> float:
    """The time of one N×d by d×N product in float32, in strips, so that no N×N matrix is written."""
    left, right = (part.detach() for part in make_pairs(number, width, device))
    strip = left.new_empty(min(2048, number), number)

    def product() -> None:
        for rows in left.split(len(strip)):
            torch.mm(rows, right.T, out=strip[: len(rows)])

    return seconds_per_call(product, device, calls=calls_for(number))


def calls_for(number: int) -> int:
    """More calls of a small batch, whose single call is too short to be timed."""
    return max(1, min(20, 8192 // number))


def step_of(objective: str, image: Tensor, text: Tensor) -> Callable[[], Tensor]:
    def forward_and_backward() -> Tensor:
        image.grad = text.grad = None
        loss = contrastive_loss(image, text, objective=objective, inv_temperature=INV_TEMPERATURE, beta=BETA)
        loss.backward()
        return loss.detach()

    return forward_and_backward


@pytest.mark.parametrize("number", SIZES)
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_objective_is_exact_in_linear_memory(
    device: torch.device, size: Size, objective: str, number: int
) -> None:
    if objective not in ("clip", "cloob") and number > SIZES[1]:
        pytest.skip("the largest batches are measured with CLIP and CLOOB")
    image, text = make_pairs(number, size.embedding_width, device)
    forward_and_backward = step_of(objective, image, text)
    loss = forward_and_backward()
    gradients = [image.grad.clone(), text.grad.clone()]
    seconds = seconds_per_call(forward_and_backward, device, warmup=1, calls=calls_for(number))
    image.grad = text.grad = None
    memory = peak_megabytes(forward_and_backward, device)

    reference_batch = [part.detach().double().requires_grad_() for part in (image, text)]
    reference = blocked_oracle.loss(*reference_batch, objective, INV_TEMPERATURE, BETA)
    reference.backward()
    loss_error = relative_error(loss, reference.detach())
    gradient_error = max(
        relative_error(gradient, expected.grad)
        for gradient, expected in zip(gradients, reference_batch, strict=True)
    )
    product = seconds_per_product(number, size.embedding_width, device)
    products = MIN_PRODUCTS[OBJECTIVES[objective].hopfield]
    record(
        "objective",
        {
            "objective": objective,
            "pairs": number,
            "width": size.embedding_width,
            "milliseconds": 1e3 * seconds,
            "megabytes": memory,
            "share_of_matrix_rate": products * product / seconds,
            "product_tflops": 2 * number**2 * size.embedding_width / product / 1e12,
            "loss_error": loss_error,
            "gradient_error": gradient_error,
        },
    )
    assert loss_error < 1e-5
    assert gradient_error < 1e-4
    if memory is not None and number >= 32768:
        assert memory < 4 * number**2 / 1e6  # one N×N matrix in float32


def test_all_rows_of_a_large_batch_have_a_gradient(device: torch.device, size: Size) -> None:
    image, text = make_pairs(SIZES[-1], size.embedding_width, device)
    step_of("cloob", image, text)()
    for gradient in (image.grad, text.grad):
        assert gradient.isfinite().all()
        assert (gradient.abs().sum(dim=1) > 0).all()
