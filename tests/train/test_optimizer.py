"""AdamW's parameter groups and hyperparameters."""

from cloob.models.clip import build_model
from cloob.models.config import model_config
from cloob.train.optimizer import make_optimizer
from tests.helpers.recipes import recipe


def test_weight_decay_excludes_biases_norms_and_temperature_but_not_shortcut_norms(model):
    encoder = build_model(model_config(model))
    names = {parameter: name for name, parameter in encoder.named_parameters()}
    undecayed, decayed = make_optimizer(encoder.named_parameters(), recipe(weight_decay=0.1)).param_groups
    assert (undecayed["weight_decay"], decayed["weight_decay"]) == (0.0, 0.1)
    undecayed_names = {names[parameter] for parameter in undecayed["params"]}
    assert {"logit_scale", "visual.bn1.weight", "visual.bn1.bias", "ln_final.weight"} <= undecayed_names
    decayed_names = {names[parameter] for parameter in decayed["params"]}
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
