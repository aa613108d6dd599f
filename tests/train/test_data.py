"""Loading of image-text pairs: decoding, tokens, fallbacks for damaged images, system errors."""

import errno
import os
import re

import pytest
import torch

from cloob.common.data_loading import kill_workers_on_exit
from cloob.common.errors import InputError, user_message
from cloob.models.config import model_config
from cloob.models.tokenizer import tokenizer_for
from cloob.shards.reader import Shards
from cloob.train.augmentation import RandomResizedCrop
from cloob.train.data import PairDataset, collate, count_replaced, training_loader
from cloob.train.distributed import DistributedContext
from cloob.train.order import BatchOrder
from tests.helpers.io_errors import ERRNO_NAMES, fail_reads_below, no_free_descriptors
from tests.helpers.recipes import recipe


@pytest.fixture
def dataset(shards, model):
    config = model_config(model)
    return PairDataset(Shards(shards), RandomResizedCrop(32, (0.5, 1.0), seed=7), tokenizer_for(config))


def test_a_pair_is_a_uint8_image_and_the_tokens_of_its_caption(dataset):
    image, tokens, replaced = dataset[(0, [3])]
    assert replaced is None
    assert (image.shape, image.dtype) == ((3, 32, 32), torch.uint8)
    assert torch.equal(tokens, dataset.tokenizer([dataset.shards.caption(3)])[0])


def test_tokens_are_padded_to_the_longest_caption_of_the_batch(dataset):
    samples = [(0, [0]), (0, [1]), (0, [2])]
    _, tokens, _ = collate([dataset[sample] for sample in samples])
    captions = [dataset.shards.caption(index) for _, [index] in samples]
    assert torch.equal(tokens, dataset.tokenizer(captions))
    assert tokens.shape[1] == max(len(dataset[sample][1]) for sample in samples)


def test_the_crop_depends_only_on_seed_epoch_and_index(dataset):
    image = dataset[(0, [3])][0]
    torch.manual_seed(123)
    before = torch.random.get_rng_state()
    assert torch.equal(dataset[(0, [3])][0], image)
    assert torch.equal(torch.random.get_rng_state(), before)  # the global generator is not used
    assert not torch.equal(dataset[(1, [3])][0], image)


def batch_order(dataset):
    context = DistributedContext(0, 1, torch.device("cpu"))
    return BatchOrder(len(dataset), recipe(), 5, 0, context)


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
@pytest.mark.parametrize("workers", [0, 2, 5])
def test_images_do_not_depend_on_the_number_of_workers(dataset, workers):
    expected = [
        torch.stack([dataset[sample][0] for sample in batch.samples]) for batch in batch_order(dataset)
    ]
    loaded = [images for images, _, _ in training_loader(dataset, batch_order(dataset), workers)]
    assert all(torch.equal(*both) for both in zip(expected, loaded, strict=True))


def test_an_image_that_does_not_decode_is_replaced_by_a_fallback_and_counted(dataset, capfd, monkeypatch):
    read = dataset.shards.sample
    bad = {3: b"<html>not found</html>", 4: b"", 7: b"\xff\xd8\xff", 21: read(21)[0][:300]}

    def sample(index):
        return bad.get(index, read(index)[0]), read(index)[1]

    intact = PairDataset(Shards(dataset.shards.path), dataset.transform, dataset.tokenizer)
    originals = [intact[(0, [index])] for index in range(22)]
    monkeypatch.setattr(dataset.shards, "sample", sample)
    for indices, used in (([3, 9], 9), ([4, 21, 7, 2], 2), ([5, 3], 5)):
        image, tokens, replaced = dataset[(0, indices)]
        assert torch.equal(image, originals[used][0])
        assert torch.equal(tokens, originals[used][1])
        assert replaced == (None if used == indices[0] else indices[0])
    assert collate([dataset[(0, indices)] for indices in ([3, 9], [5, 3], [4, 1])])[2] == [3, 4]
    printed = capfd.readouterr().out
    for index in (3, 4, 7, 21):  # one warning each, however often they are requested
        assert printed.count(f"warning: pair {index} of ") == 1
    with pytest.raises(InputError, match="none of 2 images decodes"):
        dataset[(0, [3, 4])]


def test_a_small_corpus_is_read_once_and_gives_the_same_pairs_as_a_large_one(dataset, monkeypatch):
    requested = []
    read = dataset.shards.sample
    monkeypatch.setattr(dataset.shards, "sample", lambda index: requested.append(index) or read(index))
    samples = [(epoch, [index]) for epoch in (0, 1) for index in range(len(dataset))]
    small = [dataset[sample] for sample in samples]
    assert requested == list(range(len(dataset)))

    requested.clear()
    monkeypatch.setattr("cloob.train.data.DECODED_BYTES", 1000)
    dataset = PairDataset(dataset.shards, dataset.transform, dataset.tokenizer)
    for pair, sample in zip(small, samples, strict=True):
        assert all(torch.equal(*both) for both in zip(pair[:2], dataset[sample][:2], strict=True))
    assert requested == 2 * list(range(len(dataset)))


@pytest.mark.parametrize("name", ERRNO_NAMES)
def test_an_unreadable_shard_is_not_treated_as_a_bad_image(dataset, monkeypatch, name, capfd):
    number = getattr(errno, name)
    fail_reads_below(monkeypatch, dataset.shards.path.parent, number)
    with pytest.raises(OSError) as error:
        dataset[(0, [3, 9])]
    assert user_message(error.value).startswith(f"{dataset.shards.tars[0]}: {os.strerror(number)}; ")
    assert capfd.readouterr().out == ""


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
@pytest.mark.parametrize("workers", [0, 1])
def test_too_many_open_files_end_loading_and_name_the_shard(dataset, workers):
    class ExhaustedShards(Shards):
        def request_blocks(self, blocks):
            with no_free_descriptors():
                super().request_blocks(blocks)

    exhausted = PairDataset(ExhaustedShards(dataset.shards.path), dataset.transform, dataset.tokenizer)
    with pytest.raises(OSError) as error, kill_workers_on_exit():
        list(training_loader(exhausted, batch_order(dataset), workers))
    assert re.search(r"/00000\d\.tar: Too many open files; raise the limit", user_message(error.value))


def test_more_replaced_pairs_than_allowed_name_the_worst_shard(dataset, context):
    shards = dataset.shards
    assert count_replaced(shards, [3], 100, 0.02, context) == 1
    assert count_replaced(shards, [3, 13], 100, 0.02, context) == 2
    with pytest.raises(InputError) as error:
        count_replaced(shards, [3, 13, 14], 100, 0.02, context)
    assert str(error.value).startswith(
        f"{shards.tars[1]}: changed after packing: 2 of its pairs do not decode; 3 of the 100 pairs of "
        "a batch had to be replaced, more than train.max_replaced_fraction (0.02) allows; "
        "run `cloob shards verify`"
    )
