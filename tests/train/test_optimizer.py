"""AdamW's parameter groups and hyperparameters."""

import math

import pytest
import torch

from cloob.models.clip import build_model
from cloob.models.config import model_config
from cloob.train.optimizer import make_optimizer
from cloob.train.recipe import Run
from cloob.train.setup import init_model
from cloob.train.step import TrainStep
from tests.helpers.recipes import recipe


@pytest.mark.parametrize("decay_temperature", [True, False])
def test_weight_decay_excludes_biases_and_norms_but_not_shortcut_norms(model, decay_temperature):
    encoder = build_model(model_config(model))
    names = {parameter: name for name, parameter in encoder.named_parameters()}
    changed = recipe(weight_decay=0.1, decay_temperature=decay_temperature)
    undecayed, decayed = make_optimizer(encoder.named_parameters(), changed).param_groups
    assert (undecayed["weight_decay"], decayed["weight_decay"]) == (0.0, 0.1)
    undecayed_names = {names[parameter] for parameter in undecayed["params"]}
    assert {"visual.bn1.weight", "visual.bn1.bias", "ln_final.weight"} <= undecayed_names
    decayed_names = {names[parameter] for parameter in decayed["params"]}
    assert ("logit_scale" in decayed_names) is decay_temperature
    # The authors' list of names lacks the BatchNorm of the ResNet's shortcuts.
    assert {"visual.conv1.weight", "token_embedding.weight", "text_projection"} <= decayed_names
    assert "visual.layer1.0.downsample.1.weight" in decayed_names
    assert undecayed_names | decayed_names == set(names.values())


def test_frozen_parameters_are_not_optimized(model):
    encoder = build_model(model_config(model))
    encoder.logit_scale.requires_grad_(False)
    groups = make_optimizer(encoder.named_parameters(), recipe()).param_groups
    assert all(parameter is not encoder.logit_scale for group in groups for parameter in group["params"])


def test_adams_hyperparameters_are_those_of_the_recipe(model):
    encoder = build_model(model_config(model))
    changed = recipe(adam_beta1=0.8, adam_beta2=0.98, adam_eps=1e-6)
    optimizer = make_optimizer(encoder.named_parameters(), changed)
    assert optimizer.defaults["betas"] == (0.8, 0.98)
    assert optimizer.defaults["eps"] == 1e-6


@pytest.mark.parametrize("decay_temperature", [True, False])
def test_learned_temperature_follows_adamw_in_float64_with_and_without_decay(
    model, context, decay_temperature
):
    rate, decay, beta1, beta2, eps = 0.02, 0.1, 0.9, 0.999, 1e-8
    clip = recipe(
        batch_size=4,
        precision="float64",
        weight_decay=decay,
        decay_temperature=decay_temperature,
        adam_eps=eps,
        learnable_temperature=True,
        inv_temperature=14.0,
    )
    run, config = Run("cc3m", "clip", "tiny", "test", 3), model_config(model)
    train_step = TrainStep(init_model(config, run, clip, context), run, clip, context)
    logit_scale = train_step.model.logit_scale
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (4, 3, 32, 32), generator=generator, dtype=torch.uint8)
    tokens = torch.tensor([[49406, word, 49407] for word in (320, 2368, 1929, 736)])
    expected, first_moment, second_moment = math.log(14.0), 0.0, 0.0
    for step in range(1, 6):
        train_step(step - 1, rate, [(images, tokens)])
        gradient = float(logit_scale.grad)
        assert gradient != 0
        first_moment = beta1 * first_moment + (1 - beta1) * gradient
        second_moment = beta2 * second_moment + (1 - beta2) * gradient**2
        direction = first_moment / (1 - beta1**step)
        direction /= math.sqrt(second_moment / (1 - beta2**step)) + eps
        expected -= rate * (direction + decay * expected * decay_temperature)
        assert float(logit_scale.detach()) == pytest.approx(expected, rel=1e-12)
