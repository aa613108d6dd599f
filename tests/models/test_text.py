"""The text encoder computes only as many positions as the longest text has, with identical results."""

import open_clip
import pytest
import torch

from cloob.models.clip import build_model
from cloob.models.tokenizer import tokenizer_for

CONFIG = {
    "embed_dim": 8,
    "quick_gelu": True,
    "vision_cfg": {
        "image_size": 32,
        "layers": [1, 1, 1, 1],
        "width": 8,
        "head_width": 32,
        "patch_size": None,
    },
    "text_cfg": {"context_length": 20, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 2},
}
TEXTS = ["a dog", "two black dogs on a beach at dusk", "", "grass " * 30]


@pytest.fixture
def encoder():
    torch.manual_seed(0)
    return build_model(CONFIG).double()


@pytest.mark.parametrize("texts", [TEXTS[:3], TEXTS], ids=["shorter than the context", "longer"])
@pytest.mark.parametrize("normalize", [False, True])
def test_embeddings_and_gradients_equal_open_clips_with_full_context(encoder, texts, normalize):
    reference = open_clip.CLIP(**CONFIG).double()
    reference.load_state_dict(encoder.state_dict())
    whole_context = open_clip.SimpleTokenizer(context_length=20)(texts)
    actual = encoder.encode_text(tokenizer_for(CONFIG)(texts), normalize=normalize)
    expected = reference.encode_text(whole_context, normalize=normalize)
    torch.testing.assert_close(actual, expected, rtol=1e-12, atol=1e-14)
    actual.square().sum().backward()
    expected.square().sum().backward()
    for name, parameter in reference.named_parameters():
        if parameter.grad is not None:
            ours = encoder.get_parameter(name).grad
            torch.testing.assert_close(ours, parameter.grad, rtol=1e-9, atol=1e-12, msg=name)


def test_tokenizer_truncates_to_the_longest_text():
    tokenizer = tokenizer_for(CONFIG)
    assert tokenizer(["a dog"]).shape == (1, 4)
    assert tokenizer(TEXTS).shape == (4, 20)
    assert tokenizer(["a dog", "two black dogs"]).shape == (2, 5)
