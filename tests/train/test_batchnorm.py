import pytest
import torch
import torch.distributed as dist
from torch import nn

from cloob.train.batchnorm import RunningStatistics


@pytest.fixture
def group():
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def test_a_step_moves_them_towards_the_mean_of_its_micro_batches(group):
    layer = nn.BatchNorm1d(3, momentum=0.3)
    statistics = RunningStatistics(nn.Sequential(layer, nn.ReLU()))
    mean, variance = torch.zeros(3), torch.ones(3)
    generator = torch.Generator().manual_seed(0)
    for _ in range(4):
        micro_batches = [torch.randn(5, 3, generator=generator) * 2 + 1 for _ in range(3)]
        statistics.begin()
        for rows in micro_batches:
            normalized = layer(rows)
            statistics.count()
            torch.testing.assert_close(normalized.mean(0), torch.zeros(3), atol=1e-6, rtol=0)
        layer(micro_batches[0])  # a second pass, for the gradient, does not count
        statistics.end(3)
        mean = 0.7 * mean + 0.3 * sum(rows.mean(0) for rows in micro_batches) / 3
        variance = 0.7 * variance + 0.3 * sum(rows.var(0) for rows in micro_batches) / 3
        torch.testing.assert_close(layer.running_mean, mean)
        torch.testing.assert_close(layer.running_var, variance)
    assert layer.num_batches_tracked == 4


def test_a_model_without_batchnorm_has_none(group):
    statistics = RunningStatistics(nn.Linear(2, 2))
    statistics.begin()
    statistics.count()
    statistics.end(1)
