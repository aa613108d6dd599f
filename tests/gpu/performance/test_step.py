"""Pairs per second of a training step on a batch in memory, ours and open_clip's."""

import gc
import logging
from collections.abc import Callable, Iterator

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from cloob.models.clip import CLIPModel
from cloob.models.preprocessing import normalize_pixels
from cloob.objectives.losses import contrastive_loss
from cloob.train.distributed import DistributedContext
from tests.gpu.conftest import ON_CPU, backend_flags_restored
from tests.gpu.performance.conftest import SMALL_SIZE, TRUE_SIZE, Size
from tests.gpu.performance.test_objective import make_pairs
from tests.gpu.performance.workload import cc3m_recipe, make_images, make_tokens, open_clip_step, our_step
from tests.gpu.results import record
from tests.gpu.timing import seconds_per_call

SIZES = SMALL_SIZE if ON_CPU else TRUE_SIZE
[MAIN, *OTHERS] = SIZES.architectures
SMALLEST, LARGEST = SIZES.micro_batch_sizes[0], SIZES.micro_batch_sizes[-1]


@pytest.fixture(autouse=True)
def quiet_and_empty(device: torch.device) -> Iterator[None]:
    """Without open_clip's log, and with all device memory free afterwards."""
    logging.disable(logging.INFO)
    yield
    logging.disable(logging.NOTSET)
    if device.type == "cuda":
        gc.collect()
        torch.cuda.empty_cache()


def forward_flops(model: CLIPModel, size: int, device: torch.device) -> float:
    """Operations of a forward pass per pair, for the mean caption length of a micro-batch."""
    tokens = make_tokens(SMALLEST, model.config["text_cfg"]["context_length"])
    padded = tokens[:, : int(tokens.argmax(dim=1).max()) + 1].to(device)
    pixels = normalize_pixels(make_images(SMALLEST, size, False).to(device))
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(pixels, padded)
    return counter.get_total_flops() / SMALLEST


def measure(
    name: str,
    architecture: str,
    step: Callable[[], object],
    context: DistributedContext,
    steps: int,
    *,
    batch_size: int,
    micro_batch_size: int,
    precision: str,
    flops_per_pair: float | None = None,
    **columns: object,
) -> float:
    """Record and return the pairs per second of a step."""
    cuda = context.device.type == "cuda"
    step()  # allocates the optimizer's state
    if cuda:
        torch.cuda.reset_peak_memory_stats(context.device)
    seconds = seconds_per_call(step, context.device, warmup=1, turns=2, calls=steps)
    rate = batch_size / seconds
    record(
        "step",
        {
            "step": name,
            "architecture": architecture,
            "batch_size": batch_size,
            "micro_batch_size": micro_batch_size,
            "precision": precision,
            "pairs_per_second": rate,
            "milliseconds": 1e3 * seconds,
            "memory_gb": torch.cuda.max_memory_allocated(context.device) / 1e9 if cuda else None,
            "tflops": flops_per_pair * rate / 1e12 if flops_per_pair else None,
            **columns,
        },
    )
    return rate


def measure_ours(
    context: DistributedContext,
    architecture: str,
    objective: str,
    batch_size: int,
    micro_batch_size: int,
    steps: int,
    precision: str = "bfloat16",
    note: str = "",
    **changes: object,
) -> None:
    """Record our step; the weights must stay finite."""
    sizes = {"batch_size": batch_size, "micro_batch_size": micro_batch_size}
    recipe = cc3m_recipe(objective, **sizes, precision=precision, **changes)
    step, train_step = our_step(SIZES.architectures[architecture], objective, recipe, context)
    model = train_step.model
    # A forward and a backward pass are three forward passes; gradient caching adds one.
    passes = 3 if micro_batch_size == batch_size else 4
    image_size = model.config["vision_cfg"]["image_size"]
    flops = None if recipe.compile else passes * forward_flops(model, image_size, context.device)
    columns = {"precision": precision, "objective": objective, "note": note, **changes}
    measure("ours", architecture, step, context, steps, flops_per_pair=flops, **sizes, **columns)
    assert all(parameter.isfinite().all() for parameter in model.parameters())


@pytest.mark.parametrize("micro_batch_size", SIZES.micro_batch_sizes)
@pytest.mark.parametrize("objective", ["clip", "cloob"])
def test_step_of_the_paper_is_measured(
    context: DistributedContext, size: Size, objective: str, micro_batch_size: int
) -> None:
    measure_ours(context, MAIN, objective, size.batch_size, micro_batch_size, size.steps)


@pytest.mark.parametrize("objective", ["clip", "cloob"])
def test_step_of_one_process_of_several_is_measured(
    context: DistributedContext, size: Size, objective: str
) -> None:
    """A single micro-batch, without the communication and the other processes' part of the loss."""
    measure_ours(context, MAIN, objective, SMALLEST, SMALLEST, 4 * size.steps)


# open_clip trains in the contiguous format.
@pytest.mark.parametrize(
    ("micro_batch_size", "channels_last"), [(SMALLEST, False), (LARGEST, False), (LARGEST, True)]
)
def test_step_of_open_clip_is_measured(
    context: DistributedContext, size: Size, micro_batch_size: int, channels_last: bool
) -> None:
    sizes = {"batch_size": size.batch_size, "micro_batch_size": micro_batch_size}
    recipe = cc3m_recipe("clip", **sizes, precision="bfloat16", channels_last=channels_last)
    step = open_clip_step(size.architectures[MAIN], recipe, context)
    columns = {"objective": "clip", "channels_last": channels_last}
    measure("open_clip", MAIN, step, context, size.steps, precision="bfloat16", **sizes, **columns)


@pytest.mark.parametrize("objective", ["clip", "cloob"])
def test_share_of_the_loss_is_measured(
    device: torch.device, context: DistributedContext, size: Size, objective: str
) -> None:
    for number in (size.batch_size, size.large_batch_size):
        image, text = make_pairs(number, size.embedding_width, device)

        def loss(image=image, text=text) -> None:
            image.grad = text.grad = None
            group = torch.distributed.group.WORLD
            contrastive_loss(
                image, text, objective=objective, inv_temperature=30.0, beta=8.0, group=group
            ).backward()

        seconds = seconds_per_call(loss, device, calls=10)
        record("loss", {"objective": objective, "batch_size": number, "milliseconds": 1e3 * seconds})
        assert image.grad.isfinite().all()


@pytest.mark.parametrize("architecture", SIZES.architectures)
def test_step_with_a_large_batch_is_measured(
    context: DistributedContext, size: Size, architecture: str
) -> None:
    steps = max(2, size.steps // 2)
    measure_ours(context, architecture, "cloob", size.large_batch_size, SMALLEST, steps)


@pytest.mark.parametrize("precision", ["float16", "float32"])
def test_other_precisions_are_measured(context: DistributedContext, size: Size, precision: str) -> None:
    steps = max(2, size.steps // 2)
    measure_ours(context, MAIN, "cloob", size.batch_size, SMALLEST, steps, precision)


def test_contiguous_memory_format_is_measured(context: DistributedContext, size: Size) -> None:
    steps = max(2, size.steps // 2)
    measure_ours(context, MAIN, "cloob", size.batch_size, SMALLEST, steps, channels_last=False)


def test_cudnn_benchmark_is_measured(context: DistributedContext, size: Size) -> None:
    with backend_flags_restored():
        torch.backends.cudnn.benchmark = True
        steps = max(2, size.steps // 2)
        sizes = size.batch_size, SMALLEST
        measure_ours(context, MAIN, "cloob", *sizes, steps, note="cudnn.benchmark")


@pytest.mark.slow
@pytest.mark.parametrize("batch_size", [SMALLEST, SIZES.batch_size])
def test_compiled_step_is_measured(context: DistributedContext, size: Size, batch_size: int) -> None:
    measure_ours(context, MAIN, "cloob", batch_size, SMALLEST, size.steps, compile=True)


def test_repeated_steps_are_compared(context: DistributedContext, size: Size) -> None:
    """Records whether two runs have the same bits without deterministic algorithms; see `test_resume`."""
    recipe = cc3m_recipe("cloob", batch_size=size.batch_size, micro_batch_size=SMALLEST)
    weights, losses = [], []
    for _ in range(2):
        step, train_step = our_step(size.architectures[MAIN], "cloob", recipe, context)
        losses.append([float(step()) for _ in range(3)])
        weights.append([parameter.detach().clone() for parameter in train_step.model.parameters()])
    differences = [float((first - second).abs().max()) for first, second in zip(*weights, strict=True)]
    equal = sum(torch.equal(first, second) for first, second in zip(*weights, strict=True))
    record(
        "repeated_steps",
        {
            "steps": 3,
            "parameters": len(differences),
            "bit_identical_parameters": equal,
            "largest_difference": max(differences),
        },
    )
    assert losses[0] == pytest.approx(losses[1], rel=1e-2)
