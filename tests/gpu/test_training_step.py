"""A training step on the device: like the CPU's, in every precision and memory format."""

import pytest
import torch
import torch.distributed as dist

from cloob.models.preprocessing import normalize_pixels
from cloob.objectives.losses import contrastive_loss
from cloob.objectives.registry import OBJECTIVES
from cloob.train.distributed import DistributedContext
from cloob.train.recipe import Run
from cloob.train.setup import init_model
from tests.gpu.small_training import (
    BATCH_SIZE,
    CONFIG,
    random_micro_batches,
    relative_error,
    train_steps,
)
from tests.helpers.recipes import recipe

Contexts = dict[str, DistributedContext]
CLIP = {"inv_temperature": 14.3, "learnable_temperature": True, "hopfield_beta": 0.0}


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_float64_steps_equal_those_of_the_cpu(contexts: Contexts, objective: str) -> None:
    changes = {"steps": 3, "objective": objective, "precision": "float64", "learnable_temperature": True}
    on_device, on_cpu = (train_steps(contexts[name], **changes) for name in ("device", "cpu"))
    assert on_device.losses == pytest.approx(on_cpu.losses, rel=1e-10)
    assert relative_error(on_device.gradients, on_cpu.gradients) < 1e-8
    for name, expected in on_cpu.weights.items():
        torch.testing.assert_close(on_device.weights[name], expected, rtol=1e-6, atol=1e-8, msg=name)


@pytest.mark.parametrize("objective", ["clip", "cloob"])
@pytest.mark.usefixtures("no_tf32")
def test_float32_gradient_is_that_of_the_cpu(contexts: Contexts, objective: str) -> None:
    on_device, on_cpu = (train_steps(contexts[name], objective=objective) for name in ("device", "cpu"))
    assert on_device.losses == pytest.approx(on_cpu.losses, rel=1e-5)
    assert relative_error(on_device.gradients, on_cpu.gradients) < 1e-3


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
@pytest.mark.parametrize("changes", [{}, CLIP], ids=["cloob", "clip"])
def test_half_precision_trains_like_float32(contexts: Contexts, precision: str, changes: dict) -> None:
    objective = "clip" if changes else "cloob"
    half, full = (
        train_steps(contexts["device"], steps=8, objective=objective, precision=name, **changes)
        for name in (precision, "float32")
    )
    assert half.losses[0] == pytest.approx(full.losses[0], rel=0.02)
    assert full.losses[-1] < full.losses[0] - 0.5
    # 8 steps of AdamW amplify rounding; both must have learned the batch about equally well.
    assert half.losses[-1] < full.losses[-1] + 0.3 * (full.losses[0] - full.losses[-1])
    assert all(value.isfinite().all() for value in half.weights.values())


@pytest.mark.usefixtures("no_tf32")
def test_memory_format_does_not_change_the_gradient(contexts: Contexts) -> None:
    channels_last, contiguous = (
        train_steps(contexts["device"], channels_last=choice) for choice in (True, False)
    )
    assert relative_error(channels_last.gradients, contiguous.gradients) < 1e-3


@pytest.mark.usefixtures("no_tf32")
def test_recomputed_activations_do_not_change_the_gradient(contexts: Contexts) -> None:
    recomputed, stored = (
        train_steps(contexts["device"], gradient_checkpointing=choice) for choice in (True, False)
    )
    assert relative_error(recomputed.gradients, stored.gradients) < 1e-3


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.usefixtures("no_tf32")
def test_gradient_caching_gives_the_gradient_of_a_single_pass(contexts: Contexts, objective: str) -> None:
    context = contexts["device"]
    cached = train_steps(context, objective=objective)
    used = recipe(batch_size=BATCH_SIZE)
    model = init_model(CONFIG, Run("cc3m", objective, "RN_small", "test", 3), used, context)
    # One graph through all micro-batches, so that autograd itself sums the gradients.
    embeddings = [
        model(normalize_pixels(images.to(context.device)), tokens.to(context.device))
        for images, tokens in random_micro_batches()
    ]
    image, text = (torch.cat([part[side] for part in embeddings]) for side in (0, 1))
    loss = contrastive_loss(
        image,
        text,
        objective=objective,
        inv_temperature=used.inv_temperature,
        beta=used.hopfield_beta,
        group=dist.group.WORLD,
    )
    loss.backward()
    gradients = [parameter.grad.flatten() for parameter in model.parameters() if parameter.requires_grad]
    assert cached.losses == pytest.approx([float(loss.detach())], rel=1e-5)
    assert relative_error(cached.gradients, torch.cat(gradients)) < 1e-3
