"""Generation of the toy dataset: reproducible bytes, replaced as a whole, never over other files."""

import bz2
import hashlib
from pathlib import Path

import pytest

from cloob.common.errors import InputError
from cloob.toy_data.build import Sizes, build
from tests.helpers.locked_file import locked_elsewhere

TINY = Sizes(
    cc3m_train=30, cc3m_validation=5, yfcc15m=20, testset_train_per_class=1, testset_test_per_class=1
)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_files_depend_on_the_seed_and_not_on_the_number_of_processes(tmp_path: Path) -> None:
    build(tmp_path / "one", seed=3, sizes=TINY, port=8765, processes=1)
    build(tmp_path / "two", seed=3, sizes=TINY, port=8765, processes=2)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_generated_rows_and_captions_have_not_changed(tmp_path: Path) -> None:
    """Results of the demo depend on these bytes. (Image files also depend on Pillow's JPEG encoder.)"""
    build(tmp_path / "toy_data", seed=3, sizes=TINY, port=8765, processes=1)
    digest = hashlib.sha256()
    for corpus in ("cc3m", "yfcc15m"):
        for path in sorted((tmp_path / "toy_data" / corpus).iterdir()):
            content = path.read_bytes()
            digest.update(bz2.decompress(content) if path.suffix == ".bz2" else content)
    assert digest.hexdigest() == "4cf8964efbdab3fd84aed147202484ac4413b2819041c7191ff88e8f8cb301e1"


def test_another_seed_gives_other_images(tmp_path: Path, toy_dataset: Path) -> None:
    build(tmp_path / "other", seed=2, sizes=TINY, port=8765, processes=1)
    image = "testsets/birdsnap/test/000/0000.jpg"
    assert (tmp_path / "other" / image).read_bytes() != (toy_dataset / image).read_bytes()


def test_an_older_toy_dataset_is_replaced_completely(tmp_path: Path) -> None:
    out = tmp_path / "toy_data"
    (out / "www").mkdir(parents=True)
    (out / "www" / "left-over.jpg").touch()
    (out / "toy_data.json").write_text("{}")
    build(out, seed=3, sizes=TINY, port=8765, processes=1)
    assert not (out / "www" / "left-over.jpg").exists()
    assert list(tmp_path.iterdir()) == [out]


def test_what_a_killed_build_left_behind_is_deleted(tmp_path: Path) -> None:
    for name in (".toy_data.unfinished", ".toy_data.old"):
        (tmp_path / name / "www").mkdir(parents=True)
        (tmp_path / name / "www" / "half.jpg").touch()
    build(tmp_path / "toy_data", seed=3, sizes=TINY, port=8765, processes=1)
    assert list(tmp_path.iterdir()) == [tmp_path / "toy_data"]
    assert not list((tmp_path / "toy_data").rglob("half.jpg")) + list(tmp_path.rglob("lock"))


def test_a_build_that_is_running_elsewhere_is_an_error(tmp_path: Path) -> None:
    unfinished = tmp_path / ".toy_data.unfinished"
    with (
        locked_elsewhere(unfinished / "lock"),
        pytest.raises(InputError, match="in use by another process"),
    ):
        build(tmp_path / "toy_data", seed=3, sizes=TINY, port=8765, processes=1)
    assert [*tmp_path.iterdir()] == [unfinished]


def test_empty_output_folders_created_by_snakemake_are_accepted(tmp_path: Path) -> None:
    (tmp_path / "toy_data" / "cc3m").mkdir(parents=True)
    build(tmp_path / "toy_data", seed=3, sizes=TINY, port=8765, processes=1)
    assert (tmp_path / "toy_data" / "toy_data.json").is_file()


def test_a_folder_with_other_files_is_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(InputError, match=r"thesis\.tex.*--out"):
        build(tmp_path, seed=3, sizes=TINY, port=8765, processes=1)
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


def test_a_file_is_never_replaced(tmp_path: Path) -> None:
    path = tmp_path / "thesis.txt"
    path.write_text("chapter 1")
    with pytest.raises(InputError, match=r"thesis\.txt: not a folder; set --out to an empty or new folder"):
        build(path, seed=3, sizes=TINY, port=8765, processes=1)
    assert path.read_text() == "chapter 1" and [*tmp_path.iterdir()] == [path]


def fail(*_: object, **__: object) -> None:
    raise ZeroDivisionError


@pytest.mark.parametrize("processes", [1, 2])  # 2: an exception in the pool's own thread fails the test
def test_a_failed_build_leaves_no_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, processes: int
) -> None:
    monkeypatch.setattr("cloob.toy_data.build.write_image", fail)
    with pytest.raises(ZeroDivisionError):
        build(tmp_path / "toy_data", seed=3, sizes=TINY, port=8765, processes=processes)
    assert list(tmp_path.iterdir()) == []
