from cloob.models.clip import build_model
from cloob.models.config import model_config
from cloob.train.optimizer import make_optimizer
from tests.helpers.recipes import recipe


def test_biases_norms_and_the_temperature_are_not_decayed_but_shortcut_norms_are(model):
    encoder = build_model(model_config(model))
    names = {parameter: name for name, parameter in encoder.named_parameters()}
    undecayed, decayed = make_optimizer(encoder.named_parameters(), recipe(weight_decay=0.1)).param_groups
    assert (undecayed["weight_decay"], decayed["weight_decay"]) == (0.0, 0.1)
    spared = {names[parameter] for parameter in undecayed["params"]}
    assert {"logit_scale", "visual.bn1.weight", "visual.bn1.bias", "ln_final.weight"} <= spared
    burdened = {names[parameter] for parameter in decayed["params"]}
    # The authors' list of names misses the BatchNorm of the ResNet's shortcuts.
    assert {"visual.conv1.weight", "token_embedding.weight", "text_projection"} <= burdened
    assert "visual.layer1.0.downsample.1.weight" in burdened
    assert spared | burdened == set(names.values())


def test_what_is_not_trained_is_not_given_to_the_optimizer(model):
    encoder = build_model(model_config(model))
    encoder.logit_scale.requires_grad_(False)
    groups = make_optimizer(encoder.named_parameters(), recipe()).param_groups
    assert all(parameter is not encoder.logit_scale for group in groups for parameter in group["params"])


def test_the_moments_are_the_recipes(model):
    encoder = build_model(model_config(model))
    optimizer = make_optimizer(
        encoder.named_parameters(), recipe(adam_beta1=0.8, adam_beta2=0.98, epsilon=1e-6)
    )
    assert optimizer.defaults["betas"] == (0.8, 0.98)
    assert optimizer.defaults["eps"] == 1e-6
