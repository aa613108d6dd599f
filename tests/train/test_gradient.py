"""The gradient that is summed during the backward pass equals the sum of the processes' gradients."""

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn

from cloob.train.gradient import SummedGradient

PROCESSES = 2


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


def run_rank(rank: int, store: str, folder: str) -> None:
    """Gradients of two micro-batches in two steps, summed in slices and at the end; the order of slices."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", store=dist.FileStore(store, PROCESSES), rank=rank, world_size=PROCESSES)
    reduced: list[int] = []
    all_reduce = dist.all_reduce

    def recorded(values: Tensor, **options: bool) -> dist.Work | None:
        reduced.append(values.data_ptr())
        return all_reduce(values, **options)

    dist.all_reduce = recorded
    results = []
    model = make_model()
    gradient = SummedGradient(model.items(), slices=3)
    for step in range(2):
        rows = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(10 * step + rank))
        local = make_model()
        loss_of(local, rows[0], True).backward()
        loss_of(local, rows[1], False).backward()
        expected = {name: parameter.grad for name, parameter in local.items()}
        for value in expected.values():
            all_reduce(value)
        reduced.clear()
        gradient.zero()
        loss_of(model, rows[0], True).backward()
        before = len(reduced)
        with gradient.overlapped():
            loss_of(model, rows[1], False).backward()
            during = len(reduced)
        order = [pointer - gradient.values.data_ptr() for pointer in reduced]
        actual = {name: parameter.grad.clone() for name, parameter in model.items()}
        results.append((expected, actual, before, during, order))
    torch.save(results, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> list[list[tuple]]:
    """The results of all processes, step by step."""
    folder = tmp_path_factory.mktemp("group")
    torch.multiprocessing.spawn(run_rank, (str(folder / "store"), str(folder)), nprocs=PROCESSES)
    return [torch.load(folder / f"{rank}.pt") for rank in range(PROCESSES)]


def test_the_overlapped_sum_equals_the_sum_at_the_end(results: list[list[tuple]]) -> None:
    for steps in results:
        for expected, actual, *_ in steps:
            for name, value in expected.items():
                assert torch.equal(actual[name], value), name


def test_slices_are_reduced_in_a_fixed_order_from_the_last_backward_pass_on(
    results: list[list[tuple]],
) -> None:
    orders = [order for steps in results for *_, order in steps]
    assert orders[0] == sorted(orders[0])
    assert len(orders[0]) == 3
    assert all(order == orders[0] for order in orders)
    for steps in results:
        for _, _, before, during, _ in steps:
            assert before == 0
            assert during >= 1
