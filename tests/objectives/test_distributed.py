"""On any number of processes, the loss and all gradients equal those of the whole batch in one process."""

import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import nn

from cloob.objectives import tiling
from cloob.objectives.losses import contrastive_loss
from cloob.objectives.registry import OBJECTIVES
from tests.helpers.batches import make_pairs

WIDTH = 24
# Local batch sizes by number of processes: equal and unequal, a single row, no row at all.
LOCAL_SIZES = {2: (20, 33), 3: (1, 52, 0), 4: (13, 13, 13, 14)}
TILE_SIZE = 8


def shared_parameters():
    """Parameters that all processes share: the weights of two linear encoders, 1/τ and β."""
    generator = torch.Generator().manual_seed(1)
    image, text = (
        nn.Parameter(torch.randn(WIDTH, WIDTH, generator=generator, dtype=torch.float64)) for _ in range(2)
    )
    inv_temperature, beta = (nn.Parameter(torch.tensor(value, dtype=torch.float64)) for value in (20.0, 6.0))
    return image, text, inv_temperature, beta


def loss_and_gradients(objective, rows, group, partial=False):
    """The loss, the gradients of the shared parameters, and those of this process's images and texts."""
    parameters = shared_parameters()
    weight_x, weight_y, inv_temperature, beta = parameters
    pairs = make_pairs(sum(LOCAL_SIZES[2]), WIDTH, dtype=torch.float64)
    x, y = (part.detach()[rows].requires_grad_() for part in pairs)
    loss = contrastive_loss(
        F.normalize(x @ weight_x, dim=1),
        F.normalize(y @ weight_y, dim=1),
        objective=objective,
        inv_temperature=inv_temperature,
        beta=beta,
        group=group,
        partial=partial,
    )
    loss.backward()
    gradients = [
        torch.zeros_like(parameter) if parameter.grad is None else parameter.grad for parameter in parameters
    ]
    return loss.detach(), gradients, [x.grad, y.grad]


def run_rank(rank, local_sizes, store, folder):
    """Compute the part of one rank for every objective, with shared gradients summed over the ranks."""
    torch.set_num_threads(1)
    tiling.TILE_SIZE = {"cpu": TILE_SIZE}
    dist.init_process_group(
        "gloo", store=dist.FileStore(store, len(local_sizes)), rank=rank, world_size=len(local_sizes)
    )
    first = sum(local_sizes[:rank])
    rows = slice(first, first + local_sizes[rank])
    results = {}
    for objective in OBJECTIVES:
        loss, shared_gradients, row_gradients = loss_and_gradients(objective, rows, dist.group.WORLD)
        for gradient in shared_gradients:
            dist.all_reduce(gradient)
        part, _, gradients_of_part = loss_and_gradients(objective, rows, dist.group.WORLD, partial=True)
        results[objective] = loss, shared_gradients, row_gradients, part, gradients_of_part
    torch.save(results, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module", params=LOCAL_SIZES)
def results_by_rank(request, tmp_path_factory):
    """For each rank of a process group: {objective: `loss_and_gradients`}."""
    folder = tmp_path_factory.mktemp(f"group_of_{request.param}")
    local_sizes = LOCAL_SIZES[request.param]
    arguments = (local_sizes, str(folder / "store"), str(folder))
    torch.multiprocessing.spawn(run_rank, arguments, nprocs=len(local_sizes))
    return [torch.load(folder / f"{rank}.pt") for rank in range(len(local_sizes))]


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_distributed_loss_and_gradients_equal_those_of_one_process(results_by_rank, objective):
    loss, shared_gradients, row_gradients = loss_and_gradients(objective, slice(None), None)
    for results in results_by_rank:
        torch.testing.assert_close(results[objective][0], loss, rtol=1e-12, atol=0)
        for gradient, expected in zip(results[objective][1], shared_gradients, strict=True):
            torch.testing.assert_close(gradient, expected, rtol=1e-9, atol=1e-12)
    for side, expected in enumerate(row_gradients):
        gradient = torch.cat([results[objective][2][side] for results in results_by_rank])
        torch.testing.assert_close(gradient, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_the_parts_of_the_ranks_sum_to_the_loss_and_have_its_gradient(results_by_rank, objective):
    loss = results_by_rank[0][objective][0]
    parts = torch.stack([results[objective][3] for results in results_by_rank])
    torch.testing.assert_close(parts.sum(), loss, rtol=1e-12, atol=0)
    for _, _, row_gradients, _, gradients_of_part in (results[objective] for results in results_by_rank):
        assert all(map(torch.equal, row_gradients, gradients_of_part))
