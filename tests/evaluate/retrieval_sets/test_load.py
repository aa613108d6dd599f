"""Retrieval sets as webdataset folders, downloaded folders and packed shards."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from cloob.cli import main
from cloob.common.errors import InputError
from cloob.evaluate.retrieval_sets.load import open_retrieval_set
from tests.helpers.captioned_shards import shards_of
from tests.helpers.range_server import RangeServer, ServedFile
from tests.helpers.webdataset_folders import captioned, image, serve, write_retrieval, write_split

CAPTIONS = [["a dog", "two dogs"], ["a bird"], ["a house", "a hut", "the house"]]


@pytest.fixture
def web() -> Iterator[RangeServer]:
    with RangeServer() as server:
        yield server


def test_webdataset_folder_is_read_in_order(tmp_path: Path, capsys) -> None:
    root = write_retrieval(tmp_path / "wds", [*CAPTIONS[:2], ["a house", "", "a hut", "the house"]])
    pairs = open_retrieval_set(root, tmp_path / "cache")
    assert (pairs.num_images, list(pairs.image_of_text)) == (3, [0, 0, 1, 2, 2, 2])
    assert [pairs.caption(index) for index in range(6)] == [text for texts in CAPTIONS for text in texts]
    assert [pairs.image(index)[0] for index in range(3)] == [image(level, "JPEG") for level in range(3)]
    assert pairs.image(2)[1] == f"{root}/test/1.tar: sample 's0000002'"
    assert "1 blank captions are ignored" in capsys.readouterr().out


def test_images_that_are_replaced_during_an_evaluation_are_noticed(tmp_path: Path) -> None:
    root = write_retrieval(tmp_path / "wds", CAPTIONS)
    karpathy = tmp_path / "karpathy.json"
    (tmp_path / "1.jpg").write_bytes(image(1, "JPEG"))
    entry = {"filename": "1.jpg", "split": "test", "sentences": [{"raw": "a dog"}]}
    karpathy.write_text(json.dumps({"images": [entry]}))
    for path, file in ((root, root / "test" / "0.tar"), (karpathy, tmp_path / "1.jpg")):
        pairs = open_retrieval_set(path, tmp_path / "cache")
        file.write_bytes(content := file.read_bytes())
        pairs.check_unchanged()  # a new time, but the same content
        file.write_bytes(content + b"\0")
        with pytest.raises(InputError, match="files were changed while they were evaluated; run again when"):
            pairs.check_unchanged()


def test_images_with_equal_bytes_are_separate_as_in_clip_benchmark(tmp_path: Path) -> None:
    members = [
        *captioned(0, ["one"]),
        *[(name.replace("s0", "t0"), data) for name, data in captioned(0, ["two"])],
    ]
    root = write_retrieval(tmp_path / "wds", [["x"]])
    write_split(root / "test", [members])
    assert open_retrieval_set(root, tmp_path / "cache").num_images == 2


def test_shards_give_the_captions_of_equal_images_to_one_image(tmp_path: Path) -> None:
    shards = shards_of(tmp_path / "shards", [(9, "one"), (1, "two"), (9, "three")])
    pairs = open_retrieval_set(shards.path, tmp_path / "cache")
    assert (pairs.num_images, list(pairs.image_of_text)) == (2, [0, 1, 0])
    assert [pairs.caption(index) for index in range(3)] == ["one", "two", "three"]
    assert pairs.image(1)[0] == shards.sample(1)[0]


def test_hash_changes_with_the_tars(tmp_path: Path) -> None:
    root = write_retrieval(tmp_path / "wds", CAPTIONS)
    before = open_retrieval_set(root, tmp_path / "cache").sha256
    assert open_retrieval_set(root.rename(tmp_path / "moved"), tmp_path / "cache").sha256 == before
    write_retrieval(root, [*CAPTIONS[:2], ["a hut"]])
    assert open_retrieval_set(root, tmp_path / "cache").sha256 != before


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", r"test/0.tar: sample 'a' has no caption; add one, or remove the image from the set"),
        (b"\n \n", "sample 'a' has no caption"),
        (b"caf\xe9", "sample 'a': its .txt is not UTF-8; convert it"),
        (b"x" * 100_001, "its .txt has 100,001 bytes, more than the 100,000 that are read"),
    ],
)
def test_invalid_caption_is_reported_with_tar_and_key(tmp_path: Path, text: bytes, message: str) -> None:
    root = write_retrieval(tmp_path / "wds", CAPTIONS)
    write_split(root / "test", [[("a.jpg", image(0, "JPEG")), ("a.txt", text)]])
    (root / "test" / "1.tar").unlink()
    with pytest.raises(InputError, match=message):
        open_retrieval_set(root, tmp_path / "cache")


def test_folder_of_a_test_set_is_rejected(tmp_path: Path) -> None:
    root = write_retrieval(tmp_path / "wds", CAPTIONS)
    (root / "dataset_type.txt").unlink()
    with pytest.raises(
        InputError, match=r"a classification set by its dataset_type.txt .* write `retrieval`"
    ):
        open_retrieval_set(root, tmp_path / "cache")
    with pytest.raises(InputError, match="no such file"):
        open_retrieval_set(tmp_path / "missing", tmp_path / "cache")


def test_options_that_a_format_does_not_read_are_rejected(tmp_path: Path) -> None:
    root = write_retrieval(tmp_path / "wds", CAPTIONS)
    shards = shards_of(tmp_path / "shards", [(1, "one")])
    with pytest.raises(InputError, match=r"wds: --images is not read with a webdataset folder; leave it out"):
        open_retrieval_set(root, tmp_path / "cache", images=tmp_path)
    for option in ({"images": tmp_path}, {"split": "test"}):
        with pytest.raises(InputError, match=rf"shards.json: --{next(iter(option))} is not read with shards"):
            open_retrieval_set(shards.path, tmp_path / "cache", **option)


def download(web: RangeServer, tmp_path: Path) -> int:
    options = ["--max-bytes=100000", f"--partial={tmp_path / 'partial'}", f"--out={tmp_path / 'out'}"]
    with pytest.raises(SystemExit) as end:
        main(["evaluate", "download-retrieval-set", f"--url={web.url_of('o/tree/main')}", *options])
    return end.value.code


def test_downloaded_folder_is_validated_before_it_is_complete(web, tmp_path: Path, capfd) -> None:
    root = write_retrieval(tmp_path / "wds", CAPTIONS)
    serve(web, root, "o/tree/main")
    good = web.files["o/tree/main/test/1.tar"]
    web.files["o/tree/main/test/1.tar"] = ServedFile(good.content[:700])
    assert download(web, tmp_path) == 2
    error = capfd.readouterr().err
    assert "1.tar: damaged" in error and "; delete it and run again to repeat its download" in error
    assert not (tmp_path / "out").exists()
    (tmp_path / "partial" / "test" / "1.tar").unlink()
    web.files["o/tree/main/test/1.tar"] = good
    assert download(web, tmp_path) == 0
    assert "3 images with 6 captions" in capfd.readouterr().out
    assert open_retrieval_set(tmp_path / "out", tmp_path / "cache").num_images == 3
    assert len(web.files["o/tree/main/test/0.tar"].requested_ranges) == 1
    assert download(web, tmp_path) == 2
    assert "exists already; delete it" in capfd.readouterr().err
