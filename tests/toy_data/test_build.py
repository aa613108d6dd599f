from pathlib import Path

import pytest

from cloob.common.errors import InputError
from cloob.toy_data.build import Sizes, build

TINY = Sizes(cc3m_train=30, cc3m_validation=5, yfcc=20, testset_train_per_class=1, testset_test_per_class=1)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_same_seed_gives_the_same_bytes_with_any_number_of_processes(tmp_path: Path) -> None:
    build(tmp_path / "one", seed=3, sizes=TINY, port=8765, processes=1)
    build(tmp_path / "two", seed=3, sizes=TINY, port=8765, processes=2)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_another_seed_gives_another_world(tmp_path: Path, world: Path) -> None:
    build(tmp_path / "other", seed=2, sizes=TINY, port=8765, processes=1)
    picture = "testsets/birdsnap/test/000/0000.jpg"
    assert (tmp_path / "other" / picture).read_bytes() != (world / picture).read_bytes()


def test_an_older_world_is_replaced_whole_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    out = tmp_path / "world"
    (out / "www").mkdir(parents=True)
    (out / "www" / "left-over.jpg").touch()
    (out / "toy_data.json").write_text("{}")
    build(out, seed=3, sizes=TINY, port=8765, processes=1)
    assert not (out / "www" / "left-over.jpg").exists()
    assert list(tmp_path.iterdir()) == [out]


def test_empty_folders_that_wait_for_the_outputs_are_no_hindrance(tmp_path: Path) -> None:
    (tmp_path / "toy_data" / "cc3m").mkdir(parents=True)
    build(tmp_path / "world", seed=3, sizes=TINY, port=8765, processes=1)
    assert (tmp_path / "toy_data" / "toy_data.json").is_file()


def test_a_folder_that_holds_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(InputError, match=r"thesis\.tex.*--out"):
        build(tmp_path, seed=3, sizes=TINY, port=8765, processes=1)
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


def test_nothing_is_left_of_a_build_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cloob.toy_data.build.write_image", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        build(tmp_path / "world", seed=3, sizes=TINY, port=8765, processes=1)
    assert list(tmp_path.iterdir()) == []
