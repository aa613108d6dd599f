"""BatchNorm running statistics over the micro-batches of a step."""

import torch
from torch import nn

from cloob.train.batchnorm import BatchNormStatistics


def test_a_step_moves_running_statistics_towards_the_mean_of_its_micro_batches(context):
    layer = nn.BatchNorm1d(3, momentum=0.3)
    statistics = BatchNormStatistics(nn.Sequential(layer, nn.ReLU()))
    mean, variance = torch.zeros(3), torch.ones(3)
    generator = torch.Generator().manual_seed(0)
    for _ in range(4):
        micro_batches = [torch.randn(5, 3, generator=generator) * 2 + 1 for _ in range(3)]
        statistics.start_step()
        for rows in micro_batches:
            normalized = layer(rows)
            statistics.add_micro_batch()
            torch.testing.assert_close(normalized.mean(0), torch.zeros(3), atol=1e-6, rtol=0)
        layer(micro_batches[0])  # the second pass of gradient caching does not count
        statistics.finish_step(3)
        mean = 0.7 * mean + 0.3 * sum(rows.mean(0) for rows in micro_batches) / 3
        variance = 0.7 * variance + 0.3 * sum(rows.var(0) for rows in micro_batches) / 3
        torch.testing.assert_close(layer.running_mean, mean)
        torch.testing.assert_close(layer.running_var, variance)
    assert layer.num_batches_tracked == 4


def test_a_model_without_batchnorm_is_unchanged(context):
    model = nn.Linear(2, 2)
    expected = {name: value.clone() for name, value in model.state_dict().items()}
    statistics = BatchNormStatistics(model)
    statistics.start_step()
    statistics.add_micro_batch()
    statistics.finish_step(1)
    assert all(torch.equal(value, expected[name]) for name, value in model.state_dict().items())
