"""Training only the token embeddings of the corpus equals training all of them, bit for bit."""

import pytest
import torch

from cloob.models.config import model_config
from cloob.models.tokenizer import tokenizer_for
from cloob.shards.reader import Shards
from cloob.train import token_rows
from cloob.train.recipe import Run
from cloob.train.setup import init_model
from cloob.train.step import TrainStep
from cloob.train.token_rows import TokenRows, corpus_tokens
from tests.helpers.captioned_shards import shards_of
from tests.helpers.recipes import recipe

WORDS = [320, 736, 1929, 2368]
TOKENS = torch.tensor([0, *WORDS, 49406, 49407])


def make_train_step(model, context, tokens, **changes):
    """A new training step of the tiny model."""
    run, config = Run("cc3m", "clip", "tiny", "test", 3), model_config(model)
    clip = recipe(learnable_temperature=True, **changes)
    return TrainStep(init_model(config, run, clip, context), run, clip, context, tokens)


def train(train_step, steps):
    """Train on random images whose captions have one or two of `WORDS`."""
    for step in steps:
        generator = torch.Generator().manual_seed(step)
        micro_batches = []
        for _ in range(8 // train_step.recipe.micro_batch_size):
            shape = train_step.recipe.micro_batch_size, 3, 32, 32
            images = torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)
            first, second = torch.randint(0, 4, (2, len(images)), generator=generator).tolist()
            texts = [
                [49406, WORDS[a], 49407, 0] if a == b else [49406, WORDS[a], WORDS[b], 49407]
                for a, b in zip(first, second, strict=True)
            ]
            micro_batches.append((images, torch.tensor(texts)))
        train_step(step, 0.01, micro_batches)


def assert_equal_state(expected, actual):
    """Two training steps have the same weights and the same optimizer state, as in a checkpoint."""
    for name, weight in expected.model.state_dict().items():
        assert torch.equal(weight, actual.model.state_dict()[name]), name
    states = [train_step.state_dict()["optimizer"]["state"] for train_step in (expected, actual)]
    assert states[0].keys() == states[1].keys()
    for index, state in states[0].items():
        assert all(torch.equal(value, states[1][index][name]) for name, value in state.items()), index


@pytest.mark.parametrize("micro_batch_size", [8, 4])
def test_training_only_the_corpus_tokens_is_bit_identical(model, context, micro_batch_size):
    all_rows, some_rows = (
        make_train_step(model, context, tokens, micro_batch_size=micro_batch_size)
        for tokens in (None, TOKENS)
    )
    assert isinstance(some_rows.model.token_embedding, TokenRows)
    before = some_rows.model.token_embedding.weight.clone()
    train(all_rows, range(4))
    train(some_rows, range(4))
    assert torch.equal(some_rows.model.token_embedding.weight, before), "updated only when it is read"
    caption = torch.tensor([[49406, WORDS[0], 1000, 49407]])  # as in validation, with a token of no pair
    some_rows.model.eval()
    with torch.no_grad():
        assert torch.equal(all_rows.model.encode_text(caption), some_rows.model.encode_text(caption))
    assert_equal_state(all_rows, some_rows)
    after = some_rows.model.token_embedding.weight
    assert not torch.equal(after[WORDS], before[WORDS])
    assert after[1000] == pytest.approx(before[1000] * (1 - 0.01 * 0.1) ** 4)  # decayed only


@pytest.mark.parametrize(("first", "second"), [(TOKENS, None), (None, TOKENS), (TOKENS, TOKENS)])
def test_checkpoints_with_and_without_restriction_are_interchangeable(model, context, first, second):
    uninterrupted = make_train_step(model, context, None)
    train(uninterrupted, range(4))
    interrupted = make_train_step(model, context, first)
    train(interrupted, range(2))
    resumed = make_train_step(model, context, second)
    resumed.load_state_dict({"state_dict": interrupted.model.state_dict(), **interrupted.state_dict()})
    train(resumed, range(2, 4))
    assert_equal_state(uninterrupted, resumed)


def test_checkpoint_before_the_first_step_can_be_resumed(model, context):
    new, resumed = (make_train_step(model, context, TOKENS) for _ in range(2))
    resumed.load_state_dict({"state_dict": new.model.state_dict(), **new.state_dict()})
    train(resumed, range(1))


def test_loss_scaling_trains_all_rows_because_it_may_skip_steps(model, context):
    train_step = make_train_step(model, context, TOKENS, precision="float16")
    assert train_step.token_rows is None


def test_corpus_tokens_are_those_of_all_captions_and_the_padding(model, tmp_path):
    shards = shards_of(tmp_path, [(0, "a red dog"), (1, "a dog")])
    assert corpus_tokens(shards, tokenizer_for(model_config(model))).tolist() == [
        0,
        *(320, 736, 1929),
        *(49406, 49407),
    ]


def test_unreadable_captions_have_no_tokens(model, tmp_path):
    shards_of(tmp_path, [(0, "a red dog"), (1, "a blue dog")])
    tar = tmp_path / "000000.tar"
    tar.write_bytes(tar.read_bytes().replace(b"a blue dog", b"\xff blue dog"))
    tokens = corpus_tokens(Shards(tmp_path / "shards.json"), tokenizer_for(model_config(model)))
    assert 736 in tokens
    assert 1746 not in tokens


def test_large_corpora_train_all_rows(model, tmp_path, monkeypatch):
    monkeypatch.setattr(token_rows, "MAX_PAIRS", 1)
    shards = shards_of(tmp_path, [(0, "a red dog"), (1, "a blue dog")])
    assert corpus_tokens(shards, tokenizer_for(model_config(model))) is None
