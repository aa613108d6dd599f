"""Folders in CLIP_benchmark's webdataset layout: what is read, and one-line errors for invalid ones."""

import gzip
import tarfile
import tracemalloc
from pathlib import Path

import pytest

from cloob.common.errors import InputError
from cloob.evaluate.webdataset import folder
from tests.helpers.webdataset_folders import captioned, image, labeled, write_split
from tests.helpers.webdataset_tars import special_member, tar_bytes


def read(root: Path, annotation: str = "cls") -> list[folder.Sample]:
    return list(folder.read_samples(folder.tars_of_split(root, "test"), annotation))


def test_samples_of_all_tars_are_read_in_order(tmp_path: Path) -> None:
    write_split(tmp_path / "test", [labeled(0, 2) + labeled(1, 0), labeled(0, 1)])
    samples = read(tmp_path)
    assert [(sample.tar.name, sample.key, sample.annotation) for sample in samples] == [
        ("0.tar", "s0000000", b"2"),
        ("0.tar", "s0000001", b"0"),
        ("1.tar", "s0000000", b"1"),
    ]
    assert [sample.image() for sample in samples] == [image(0), image(1), image(0)]
    assert {sample.image_suffix for sample in samples} == {"png"}


def test_members_are_grouped_as_webdataset_does(tmp_path: Path) -> None:
    members = [("./a.JPG", b"image"), ("./a.json", b"{}"), ("./a.cls", b" 7\n"), ("__meta__/x.cls", b"1")]
    write_split(tmp_path / "test", [[(special_member("d", tarfile.DIRTYPE), b""), *members]])
    (sample,) = read(tmp_path)
    assert (sample.image_suffix, sample.image(), sample.annotation) == ("jpg", b"image", b" 7\n")


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([("a.cls", b"1")], r"0.tar: sample 'a' has no image \(.webp, .png, .jpg or .jpeg\); add it"),
        ([("a.png", b"x")], "0.tar: sample 'a' has no .cls; add it"),
        ([*labeled(0, 1), ("b.png", b"x"), *labeled(2, 1)], "sample 'b' has no .cls"),
        ([*labeled(0, 1), *labeled(1, 1), *labeled(0, 1)], "sample 's0000000' occurs twice; give each"),
        ([("a.cls", b"1"), ("a.cls", b"2"), ("a.png", b"x")], "sample 'a' has two members .cls; remove one"),
        ([("a.cls", b"1" * 200), ("a.png", b"x")], "its .cls has 200 bytes, more than the 100 that are read"),
        ([("a.cls", b"1"), (special_member("a.png", tarfile.SYMTYPE, "/etc/passwd"), b"")], "is a link"),
        ([("README", b"no sample")], "0.tar: contains no samples"),
    ],
)
def test_invalid_sample_is_reported_with_tar_and_key(tmp_path: Path, members: list, message: str) -> None:
    write_split(tmp_path / "test", [members])
    with pytest.raises(InputError, match=message):
        read(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (tar_bytes(labeled(0, 1))[:1300], "0.tar: damaged .*; download it again"),
        (gzip.compress(tar_bytes(labeled(0, 1))), "0.tar: not a plain tar, but gzip-compressed; unpack it"),
        (b"<html>moved</html>", "0.tar: not a plain tar, but a web page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a git-lfs pointer, not the file; run `git lfs"),
        (b"", "0.tar: damaged"),
    ],
)
def test_damaged_tar_is_reported(tmp_path: Path, content: bytes, message: str) -> None:
    write_split(tmp_path / "test", [[]])
    (tmp_path / "test" / "0.tar").write_bytes(content)
    with pytest.raises(InputError, match=message):
        read(tmp_path)


def test_memory_does_not_grow_with_the_members_of_a_sample(tmp_path: Path) -> None:
    members = [*labeled(0, 1), *((f"s0000000.x{number}", b"") for number in range(5_000))]
    write_split(tmp_path / "test", [members])
    tracemalloc.start()
    samples = read(tmp_path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(samples) == 1
    assert peak < 2_000_000  # 1 MB is a buffer; 5,000 members of tarfile take 5 MB


def test_missing_or_wrong_files_of_a_split_are_reported(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"{tmp_path}: no folder 'test'; give the folder that contains it"):
        read(tmp_path)
    split = write_split(tmp_path / "test", [labeled(0, 1), labeled(1, 1)])
    (split / "nshards.txt").unlink()
    with pytest.raises(InputError, match=r"test: no nshards.txt; write the number of its tars"):
        read(tmp_path)
    for count, message in {
        "3": "2.tar: missing, nshards.txt lists 3 tars",
        "1": "1.tar: not one of the 1 tars",
        "two": "nshards.txt: 'two' is not a number of tars from 1 to 100,000",
        "0": "'0' is not a number of tars",
        "9" * 50: "is not a number of tars",
    }.items():
        (split / "nshards.txt").write_text(count)
        with pytest.raises(InputError, match=message):
            read(tmp_path)


def test_class_names_and_templates_are_read(tmp_path: Path) -> None:
    assert folder.class_names(tmp_path) is folder.templates(tmp_path) is None
    assert folder.dataset_type(tmp_path) == "classification"
    (tmp_path / folder.CLASS_NAMES).write_text("red \nGrün\nrouge\u00a0vif\n\n", encoding="utf-8")
    (tmp_path / folder.TEMPLATES).write_text("a {c}.\r\n{c}, again\r\n")
    (tmp_path / folder.DATASET_TYPE).write_text("Retrieval\n")
    assert folder.class_names(tmp_path) == ["red", "Grün", "rouge\u00a0vif"]
    assert folder.templates(tmp_path) == ["a {}.", "{}, again"]
    assert folder.dataset_type(tmp_path) == "retrieval"


@pytest.mark.parametrize("line", ["no name", "{}", "{c} and {c}", "{c} {d}", "{{c}}"])
def test_invalid_template_is_reported_with_its_line(tmp_path: Path, line: str) -> None:
    (tmp_path / folder.TEMPLATES).write_text(f"a {{c}}.\n{line}\n")
    with pytest.raises(InputError, match=r"line 2 is .*; each prompt needs exactly one {c}"):
        folder.templates(tmp_path)


def test_invalid_class_names_are_reported(tmp_path: Path) -> None:
    path = tmp_path / folder.CLASS_NAMES
    for content, message in {
        b"red\n\nblue\n": "line 2 is ''; give one class name per line",
        b"red\nbl\x07ue\n": "line 2 is .*; give one class name per line",
        b"\n": "empty; give one class name per line",
        b"red\xff": "not UTF-8",
        b"x" * 1_000_001: "more than 1,000,000 bytes",
    }.items():
        path.write_bytes(content)
        with pytest.raises(InputError, match=message):
            folder.class_names(tmp_path)


def test_captions_are_read_as_one_text_per_image(tmp_path: Path) -> None:
    write_split(tmp_path / "test", [captioned(0, ["one", "two"])])
    assert [sample.annotation for sample in read(tmp_path, "txt")] == [b"one\ntwo"]
