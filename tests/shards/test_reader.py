"""Reading samples by number, and noticing shards that are not what was packed."""

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


def test_workers_read_what_their_parent_opened(manifest: Path) -> None:
    shards = Shards(manifest)
    expected = first_caption(shards)
    with multiprocessing.get_context("fork").Pool(1) as pool:
        assert pool.map(first_caption, [shards] * 3) == [expected] * 3
    assert pickle.loads(pickle.dumps(shards)).sample(22) == shards.sample(22)  # noqa: S301


def test_there_is_nothing_beyond_the_last_sample(manifest: Path) -> None:
    shards = Shards(manifest)
    assert len(shards) == 23
    with pytest.raises(IndexError):
        shards.sample(23)


@pytest.mark.parametrize("name", ["000001.tar", "000001.parquet"])
def test_a_missing_file_is_an_error(manifest: Path, name: str) -> None:
    (manifest.parent / name).unlink()
    with pytest.raises(InputError, match=f"{name}: listed in the manifest, but the file is missing"):
        Shards(manifest)


def test_a_shard_of_another_size_is_an_error(manifest: Path) -> None:
    tar = manifest.parent / "000001.tar"
    tar.write_bytes(tar.read_bytes()[:-1024])
    with pytest.raises(InputError, match=r"000001\.tar: .* bytes, .* in the manifest"):
        Shards(manifest)


def test_an_index_of_another_shard_is_an_error(manifest: Path) -> None:
    (manifest.parent / "000000.parquet").write_bytes((manifest.parent / "000002.parquet").read_bytes())
    with pytest.raises(InputError, match=r"000000\.parquet: changed after packing"):
        Shards(manifest)


@pytest.mark.parametrize("content", ["[]", '{"shards": []}', '{"shards": [{"name": "a"}], "sha256": "a"}'])
def test_a_file_that_is_no_manifest_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "shards.json"
    path.write_text(content)
    with pytest.raises(InputError, match="not a shard manifest"):
        Shards(path)


def test_an_image_that_was_changed_is_not_given_out(manifest: Path) -> None:
    """It may well decode, with a gray half or as another picture."""
    shards = Shards(manifest)
    tar = shards.tar_of(0)
    image, _, key = shards.sample(0)
    content = bytearray(tar.read_bytes())
    content[content.index(image) + len(image) // 2] ^= 1
    tar.write_bytes(content)
    with pytest.raises(InputError) as changed:
        Shards(manifest).sample(0)
    assert str(changed.value) == (
        f"{tar}: changed after packing: sample {key} is not the image of its index; "
        "run `cloob shards verify` to find the difference; restore the file or pack the shards again"
    )


def test_a_caption_that_was_damaged_is_one_line(manifest: Path) -> None:
    shards = Shards(manifest)
    tar, (_, caption, key) = shards.tar_of(0), shards.sample(0)
    content = tar.read_bytes()
    place = shards._places["caption_offset"][0]
    tar.write_bytes(
        content[:place] + b"\xff" * len(caption.encode()) + content[place + len(caption.encode()) :]
    )
    for read in (Shards(manifest).caption, Shards(manifest).sample):
        with pytest.raises(
            InputError, match=f"the caption of sample {key} is not UTF-8; run `cloob shards verify`"
        ):
            read(0)
