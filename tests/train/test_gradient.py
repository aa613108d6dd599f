"""The gradient that is summed during the backward pass equals the sum of the processes' gradients."""

from typing import NamedTuple

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.multiprocessing import start_processes

from cloob.train.gradient import SummedGradient
from cloob.train.step import REDUCED_DTYPES
from tests.helpers import forked  # noqa: F401 # prepares the fork server, which has imported torch


def make_model() -> nn.ParameterDict:
    generator = torch.Generator().manual_seed(0)
    names = ("positional_embedding", "logit_scale", "visual_first", "visual_last", "transformer")
    shapes = ((5, 3), (), (8, 3), (3, 8), (3, 3))
    return nn.ParameterDict(
        {
            name: nn.Parameter(torch.randn(shape, generator=generator))
            for name, shape in zip(names, shapes, strict=True)
        }
    )


def loss_of(model: nn.ParameterDict, rows: Tensor, with_scale: bool) -> Tensor:
    """A loss that uses the temperature only if `with_scale`, as in the first micro-batch."""
    hidden = rows @ model["visual_first"].T
    output = torch.tanh(hidden) @ model["visual_last"].T + rows @ model["transformer"]
    output = output + model["positional_embedding"]
    return (output * model["logit_scale"] if with_scale else output).square().sum()


class Step(NamedTuple):
    """What one process has computed in a step."""

    local: dict[str, Tensor]
    summed: dict[str, Tensor]
    before: int
    """All-reduces before the last backward pass."""
    during: int
    """All-reduces until its end."""
    order: list[int]
    """The positions of the slices, as they were reduced."""


def run_rank(rank: int, processes: int, folder: str) -> None:
    """Gradients of two micro-batches in two steps, of this process and summed; the order of the slices."""
    torch.set_num_threads(1)
    store = dist.FileStore(f"{folder}/store", processes)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=processes)
    reduced: list[int] = []
    all_reduce = dist.all_reduce

    def recorded(values: Tensor, **options: bool) -> dist.Work | None:
        reduced.append(values.data_ptr())
        return all_reduce(values, **options)

    dist.all_reduce = recorded
    results: dict[str, list[Step]] = {}
    for name, dtype in REDUCED_DTYPES.items():
        model = make_model()
        gradient = SummedGradient(model.items(), slices=3, reduced_dtype=dtype)
        for step in range(2):
            rows = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(10 * step + rank))
            local = make_model()
            loss_of(local, rows[0], True).backward()
            loss_of(local, rows[1], False).backward()
            local_gradients = {key: parameter.grad for key, parameter in local.items()}
            reduced.clear()
            gradient.zero()
            loss_of(model, rows[0], True).backward()
            before = len(reduced)
            with gradient.overlapped():
                loss_of(model, rows[1], False).backward()
                during = len(reduced)
            order = [pointer - reduced[0] for pointer in reduced]
            summed = {key: parameter.grad.clone() for key, parameter in model.items()}
            results.setdefault(name, []).append(Step(local_gradients, summed, before, during, order))
    torch.save({name: [tuple(step) for step in steps] for name, steps in results.items()}, f"{folder}/{rank}")
    dist.destroy_process_group()


Results = dict[str, list[tuple[Step, ...]]]


@pytest.fixture(scope="module", params=[2, 4])
def results(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Results:
    """By the precision of the all-reduce: the results of all processes, step by step."""
    folder, processes = str(tmp_path_factory.mktemp("group")), request.param
    start_processes(run_rank, (processes, folder), nprocs=processes, start_method="forkserver")
    loaded = [torch.load(f"{folder}/{rank}") for rank in range(processes)]
    return {
        name: [
            tuple(Step(*step) for step in steps) for steps in zip(*(by[name] for by in loaded), strict=True)
        ]
        for name in REDUCED_DTYPES
    }


def test_the_overlapped_sum_is_the_sum_of_the_gradients(results: Results) -> None:
    for ranks in results["float32"]:
        for name, total in ranks[0].summed.items():
            parts = torch.stack([rank.local[name] for rank in ranks])
            if len(ranks) == 2:  # of two numbers, there is one order
                assert torch.equal(total, parts[0] + parts[1]), name
            assert_within(total, parts, rounding=2**-24, roundings=len(ranks) - 1)


def test_a_sum_in_bfloat16_is_within_its_error_bound(results: Results) -> None:
    for ranks in results["bfloat16"]:
        for name, total in ranks[0].summed.items():
            parts = torch.stack([rank.local[name] for rank in ranks])
            assert_within(total, parts, rounding=2**-8, roundings=len(ranks))
            assert torch.equal(total, total.bfloat16().float())


def assert_within(total: Tensor, parts: Tensor, rounding: float, roundings: int) -> None:
    """The sum of `parts` over the first dimension, up to so many roundings; computed in float64."""
    expected, size = parts.double().sum(dim=0), parts.double().abs().sum(dim=0)
    assert ((total.double() - expected).abs() <= ((1 + rounding) ** roundings - 1) * size).all()


@pytest.mark.parametrize("precision", REDUCED_DTYPES)
def test_all_processes_have_the_same_sum(results: Results, precision: str) -> None:
    for first, *others in results[precision]:
        for other in others:
            assert all(torch.equal(first.summed[name], value) for name, value in other.summed.items())


@pytest.mark.parametrize("precision", REDUCED_DTYPES)
def test_slices_are_reduced_in_a_fixed_order_from_the_last_backward_pass_on(
    results: Results, precision: str
) -> None:
    steps = [step for ranks in results[precision] for step in ranks]
    assert steps[0].order == sorted(steps[0].order)
    assert len(steps[0].order) == 3
    for step in steps:
        assert step.order == steps[0].order
        assert step.before == 0
        assert step.during >= 1
