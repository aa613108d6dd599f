"""Any number of processes, each with its rows: the loss and all gradients of the whole batch."""

import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import nn

from cloob.objectives import tiling as tiles
from cloob.objectives.losses import contrastive_loss
from cloob.objectives.registry import OBJECTIVES
from tests.helpers.batches import make_pairs

WIDTH = 24
# Rows of each process: equal and unequal, a single one, none at all.
SHARES = {2: (20, 33), 3: (1, 52, 0), 4: (13, 13, 13, 14)}
TILE = 8


def encoders_and_scales():
    """Two encoders that all processes share, a temperature and β, all learned."""
    generator = torch.Generator().manual_seed(1)
    image, text = (
        nn.Parameter(torch.randn(WIDTH, WIDTH, generator=generator, dtype=torch.float64)) for _ in range(2)
    )
    inv_temperature, beta = (nn.Parameter(torch.tensor(value, dtype=torch.float64)) for value in (20.0, 6.0))
    return image, text, inv_temperature, beta


def loss_and_gradients(objective, rows, group):
    """The loss, and the gradients of the parameters and of this process's pairs."""
    parameters = encoders_and_scales()
    weight_x, weight_y, inv_temperature, beta = parameters
    pairs = make_pairs(sum(SHARES[2]), WIDTH, dtype=torch.float64)
    x, y = (part.detach()[rows].requires_grad_() for part in pairs)
    loss = contrastive_loss(
        F.normalize(x @ weight_x, dim=1),
        F.normalize(y @ weight_y, dim=1),
        objective=objective,
        inv_temperature=inv_temperature,
        beta=beta,
        group=group,
    )
    loss.backward()
    gradients = [
        torch.zeros_like(parameter) if parameter.grad is None else parameter.grad for parameter in parameters
    ]
    return loss.detach(), gradients, [x.grad, y.grad]


def one_process(rank, shares, store, answers):
    """A process of the group: computes its share, adds the parameters' gradients up over all."""
    torch.set_num_threads(1)
    tiles.TILE = {"cpu": TILE}
    dist.init_process_group(
        "gloo", store=dist.FileStore(store, len(shares)), rank=rank, world_size=len(shares)
    )
    first = sum(shares[:rank])
    rows = slice(first, first + shares[rank])
    found = {}
    for objective in OBJECTIVES:
        loss, gradients, of_rows = loss_and_gradients(objective, rows, dist.group.WORLD)
        for gradient in gradients:
            dist.all_reduce(gradient)
        found[objective] = loss, gradients, of_rows
    torch.save(found, f"{answers}/{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module", params=SHARES)
def answers(request, tmp_path_factory):
    """What each process of a group found."""
    folder = tmp_path_factory.mktemp(f"group_of_{request.param}")
    shares = SHARES[request.param]
    arguments = (shares, str(folder / "store"), str(folder))
    torch.multiprocessing.spawn(one_process, arguments, nprocs=len(shares))
    return [torch.load(folder / f"{rank}.pt") for rank in range(len(shares))]


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_processes_together_equal_one_process(answers, objective):
    loss, gradients, of_rows = loss_and_gradients(objective, slice(None), None)
    for found in answers:
        torch.testing.assert_close(found[objective][0], loss, rtol=1e-12, atol=0)
        for mine, expected in zip(found[objective][1], gradients, strict=True):
            torch.testing.assert_close(mine, expected, rtol=1e-9, atol=1e-12)
    for side, expected in enumerate(of_rows):
        together = torch.cat([found[objective][2][side] for found in answers])
        torch.testing.assert_close(together, expected, rtol=1e-9, atol=1e-12)
