"""Random access to packed shards, and detection of shards that differ from their manifest."""

import multiprocessing
import pickle
from pathlib import Path

import pytest

from cloob.common.errors import InputError
from cloob.shards.reader import Shards
from tests.helpers.packing import pack_download


@pytest.fixture
def manifest(download: tuple[list[Path], Path], tmp_path: Path) -> Path:
    return pack_download(download, tmp_path / "shards")


def first_caption(shards: Shards) -> str:
    return shards.sample(0)[1]


def test_forked_and_pickled_readers_return_the_same_samples(manifest: Path) -> None:
    shards = Shards(manifest)
    expected = first_caption(shards)
    with multiprocessing.get_context("fork").Pool(1) as pool:
        assert pool.map(first_caption, [shards] * 3) == [expected] * 3
    assert pickle.loads(pickle.dumps(shards)).sample(22) == shards.sample(22)  # noqa: S301


def test_index_beyond_the_last_sample_raises_index_error(manifest: Path) -> None:
    shards = Shards(manifest)
    assert len(shards) == 23
    with pytest.raises(IndexError):
        shards.sample(23)


@pytest.mark.parametrize("name", ["000001.tar", "000001.parquet"])
def test_missing_tar_or_index_raises_input_error(manifest: Path, name: str) -> None:
    (manifest.parent / name).unlink()
    with pytest.raises(InputError, match=f"{name}: listed in the manifest, but the file is missing"):
        Shards(manifest)


def test_tar_of_another_size_raises_input_error(manifest: Path) -> None:
    tar = manifest.parent / "000001.tar"
    tar.write_bytes(tar.read_bytes()[:-1024])
    with pytest.raises(InputError, match=r"000001\.tar: .* bytes, .* in the manifest"):
        Shards(manifest)


def test_index_of_another_shard_raises_input_error(manifest: Path) -> None:
    (manifest.parent / "000000.parquet").write_bytes((manifest.parent / "000002.parquet").read_bytes())
    with pytest.raises(InputError, match=r"000000\.parquet: changed after packing"):
        Shards(manifest)


@pytest.mark.parametrize("content", ["[]", '{"shards": []}', '{"shards": [{"name": "a"}], "sha256": "a"}'])
def test_invalid_manifest_raises_input_error(tmp_path: Path, content: str) -> None:
    path = tmp_path / "shards.json"
    path.write_text(content)
    with pytest.raises(InputError, match="not a shard manifest"):
        Shards(path)


def test_modified_image_raises_input_error(manifest: Path) -> None:
    """A modified image may still decode, so only its SHA-256 reveals the change."""
    shards = Shards(manifest)
    tar = shards.tar_path(0)
    image, _, key = shards.sample(0)
    content = bytearray(tar.read_bytes())
    content[content.index(image) + len(image) // 2] ^= 1
    tar.write_bytes(content)
    with pytest.raises(InputError) as raised:
        Shards(manifest).sample(0)
    assert str(raised.value) == (
        f"{tar}: changed after packing: the image of sample {key} differs from the index (SHA-256); "
        "run `cloob shards verify` to find the difference; restore the file or pack the shards again"
    )


def test_damaged_caption_raises_input_error(manifest: Path) -> None:
    shards = Shards(manifest)
    tar, (_, caption, key) = shards.tar_path(0), shards.sample(0)
    content = tar.read_bytes()
    offset = shards._byte_ranges["caption_offset"][0]
    tar.write_bytes(
        content[:offset] + b"\xff" * len(caption.encode()) + content[offset + len(caption.encode()) :]
    )
    for read in (Shards(manifest).caption, Shards(manifest).sample):
        with pytest.raises(
            InputError, match=f"the caption of sample {key} is not UTF-8; run `cloob shards verify`"
        ):
            read(0)
