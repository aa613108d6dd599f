"""`cloob evaluate overlap`: copies of test images in a training corpus are detected and listed."""

from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from PIL import Image

from cloob.cli import main
from cloob.common.bit_strings import unpack_bits
from cloob.common.json_files import read_json, write_json
from cloob.evaluate.protocols import overlap
from cloob.images.near_duplicates import perceptual_hash
from cloob.shards.writer import Sample, write_shard
from tests.helpers.sample_images import encode_image
from tests.helpers.scene_images import COPIES, decode_image, scene_image

IN_CORPUS = {1: "jpeg 75", 4: "webp", 6: "half the size"}  # scene -> kind of copy in the corpus
TESTED = range(8)


def pack(folder: Path, images: list[bytes], per_shard: int = 5) -> Path:
    """Shards of images; the keys are their indices in the list."""
    shards = []
    folder.mkdir()
    for start in range(0, len(images), per_shard):
        samples = [
            Sample(
                f"{index:06d}",
                image,
                "a caption",
                sha256(image).hexdigest(),
                *decode_image(image).size,
                perceptual_hash=perceptual_hash(decode_image(image)),
            )
            for index, image in enumerate(images[start : start + per_shard], start)
        ]
        shards.append(write_shard(folder / f"{len(shards):06d}.tar", samples))
    manifest = {"samples": len(images), "sha256": "of the content", "shards": shards}
    write_json(folder / "shards.json", manifest)
    return folder / "shards.json"


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Twelve other images, copies of three test images (one of them twice), and a white image."""
    images = [encode_image(scene_image(100 + number)) for number in range(12)]
    images += [COPIES[copy](scene_image(number)) for number, copy in IN_CORPUS.items()]
    images += [COPIES["jpeg 95"](scene_image(1)), encode_image(Image.new("RGB", (50, 50), "white"))]
    return pack(tmp_path / "corpus", images)


@pytest.fixture
def testset(tmp_path: Path, write_spec: Callable[..., Path]) -> tuple[Path, Path]:
    """Eight scenes in three classes, and a white image."""
    folder = tmp_path / "set"
    for number in TESTED:
        path = folder / "test" / "abc"[number % 3] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(COPIES["png"](scene_image(number)))
    Image.new("RGB", (60, 40), "white").save(folder / "test" / "a" / "white.png")
    return write_spec(tmp_path / "scenes.yaml", name="scenes", title="Scenes"), folder


def run(corpus: Path, testset: tuple[Path, Path], out: Path, *more: object) -> int:
    with pytest.raises(SystemExit) as exit_info:
        main(
            [
                *("evaluate", "overlap", "--corpus=cc3m", f"--shards={corpus}", "--processes=1"),
                *(
                    f"--testset={testset[0]}={testset[1]}",
                    f"--feature-cache={out}/features",
                    f"--out-dir={out}",
                ),
                *map(str, more),
            ]
        )
    return exit_info.value.code


@pytest.fixture
def result(corpus: Path, testset: tuple[Path, Path], tmp_path: Path) -> dict[str, Any]:
    assert run(corpus, testset, tmp_path / "out") == 0
    return read_json(tmp_path / "out" / "scenes.json")


def test_every_copied_image_is_listed_with_its_nearest_training_images(result: dict[str, Any]) -> None:
    matches = {match["image"]: match for match in result["matches"]}
    assert list(matches) == ["a/6.png", "b/1.png", "b/4.png"]  # sorted like the test set
    assert [near["key"] for near in matches["b/4.png"]["nearest"]] == ["000013"]
    twice = matches["b/1.png"]
    assert twice["training_images"] == 2
    assert sorted(near["key"] for near in twice["nearest"]) == ["000012", "000015"]
    assert [near["distance"] for near in twice["nearest"]] == sorted(
        near["distance"] for near in twice["nearest"]
    )


def test_result_counts_compared_and_overlapping_images(result: dict[str, Any]) -> None:
    assert (result["images"], result["compared"], result["overlapping"]) == (9, 8, 3)
    assert result["share"] == 3 / 9
    overlapping = unpack_bits(result["overlapping_images"], 9)  # a/0 a/3 a/6 a/white b/1 b/4 b/7 c/2 c/5
    assert overlapping.nonzero()[0].tolist() == [2, 4, 5]
    assert (result["training_images"], result["training_compared"]) == (17, 16)
    assert (result["corpus"], result["dataset"], result["distance"]) == ("cc3m", "scenes", 20)


def test_distance_is_configurable(corpus: Path, testset: tuple[Path, Path], tmp_path: Path) -> None:
    assert run(corpus, testset, tmp_path / "out", "--near-duplicate-distance", 0) == 0
    strict = read_json(tmp_path / "out" / "scenes.json")
    assert strict["overlapping"] < 3 and strict["distance"] == 0


def test_distances_beyond_the_search_by_segments_are_searched_exhaustively(
    corpus: Path, testset: tuple[Path, Path], result: dict[str, Any], tmp_path: Path
) -> None:
    assert run(corpus, testset, tmp_path / "far", "--near-duplicate-distance", 40) == 0
    far = read_json(tmp_path / "far" / "scenes.json")
    assert far["distance"] == 40
    assert {match["image"] for match in far["matches"]} >= {match["image"] for match in result["matches"]}


def test_all_near_images_are_counted_and_ten_are_listed(testset: tuple[Path, Path], tmp_path: Path) -> None:
    copies = [encode_image(scene_image(3), quality=70 + number) for number in range(25)]
    assert run(pack(tmp_path / "corpus", copies), testset, tmp_path / "out") == 0
    [match] = read_json(tmp_path / "out" / "scenes.json")["matches"]
    assert match["training_images"] == 25 and len(match["nearest"]) == 10


def test_result_is_independent_of_the_number_of_processes(
    corpus: Path, testset: tuple[Path, Path], result: dict[str, Any], tmp_path: Path
) -> None:
    assert run(corpus, testset, tmp_path / "two", "--processes=2") == 0
    assert read_json(tmp_path / "two" / "scenes.json") == result


def test_hashes_are_cached_across_runs_and_corpora(
    corpus: Path, testset: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    assert run(corpus, testset, out) == 0
    before = (out / "scenes.json").stat().st_mtime_ns

    def fail(*_: object) -> None:
        raise AssertionError("an image was hashed again")

    monkeypatch.setattr(overlap, "perceptual_hash", fail)
    assert run(corpus, testset, out) == 0
    assert (out / "scenes.json").stat().st_mtime_ns == before
    other = pack(tmp_path / "other", [encode_image(scene_image(2)), encode_image(scene_image(500))])
    (out / "scenes.json").unlink()
    assert run(other, testset, out) == 0
    assert [match["image"] for match in read_json(out / "scenes.json")["matches"]] == ["c/2.png"]


def test_changed_test_image_is_hashed_again(
    corpus: Path, testset: tuple[Path, Path], result: dict[str, Any], tmp_path: Path
) -> None:
    (testset[1] / "test" / "b" / "1.png").write_bytes(COPIES["png"](scene_image(77)))
    assert run(corpus, testset, tmp_path / "out") == 0
    updated = read_json(tmp_path / "out" / "scenes.json")
    assert "b/1.png" not in {match["image"] for match in updated["matches"]}
    assert updated["overlapping"] == 2


def test_shards_without_perceptual_hashes_are_rejected_in_one_line(
    corpus: Path, testset: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    index = corpus.parent / "000001.parquet"
    pq.write_table(pq.read_table(index).drop_columns(["perceptual_hash"]), index)
    manifest = read_json(corpus)
    manifest["shards"][1]["index_sha256"] = sha256(index.read_bytes()).hexdigest()
    write_json(corpus, manifest)
    assert run(corpus, testset, tmp_path / "out", "--processes=2") == 2
    message = capsys.readouterr().err.splitlines()[-1]
    assert (
        "000001.parquet: not an index of this version (missing: perceptual_hash); pack the shards again"
        in message
    )
    assert not (tmp_path / "out" / "scenes.json").exists()


def test_hashes_of_another_version_are_rejected_in_one_line(
    corpus: Path, testset: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_json(corpus, read_json(corpus) | {"perceptual_hash": "pHash of 64 bits"})
    assert run(corpus, testset, tmp_path / "out") == 2
    message = capsys.readouterr().err.splitlines()[-1]
    assert "shards.json: its perceptual hashes are of version 'pHash of 64 bits'" in message
    assert "pack the shards again" in message


def test_corpus_without_any_hash_overlaps_with_nothing(testset: tuple[Path, Path], tmp_path: Path) -> None:
    white = encode_image(Image.new("RGB", (50, 50), "white"))
    assert run(pack(tmp_path / "corpus", [white, white]), testset, tmp_path / "out") == 0
    result = read_json(tmp_path / "out" / "scenes.json")
    assert (result["training_images"], result["training_compared"], result["overlapping"]) == (2, 0, 0)


def test_result_of_an_older_version_is_computed_again(
    corpus: Path, testset: tuple[Path, Path], result: dict[str, Any], tmp_path: Path
) -> None:
    path = tmp_path / "out" / "scenes.json"
    write_json(path, {key: value for key, value in result.items() if key != "overlapping_images"})
    assert run(corpus, testset, tmp_path / "out") == 0
    assert read_json(path) == result


def test_index_of_another_shard_is_rejected(
    corpus: Path, testset: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = corpus.parent / "000000.parquet", corpus.parent / "000001.parquet"
    content = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(content)
    assert run(corpus, testset, tmp_path / "out") == 2
    assert "000000.parquet: changed after packing (SHA-256 differs" in capsys.readouterr().err


def test_unreadable_test_image_is_reported(
    corpus: Path, testset: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (testset[1] / "test" / "c" / "2.png").write_bytes(b"no image")
    assert run(corpus, testset, tmp_path / "out") == 2
    assert "c/2.png: not a readable image" in capsys.readouterr().err
