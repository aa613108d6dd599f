"""Building the world: everything beside its final place, then one rename."""

import bz2
import os
import shutil
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import yaml
from tqdm import tqdm

from cloob.common.errors import InputError, io_errors_at
from cloob.common.json_files import write_json
from cloob.common.processes import process_pool
from cloob.toy_data.conceptual import LISTS, conceptual_list
from cloob.toy_data.flickr import flickr_world
from cloob.toy_data.render import ImageFile, write_image
from cloob.toy_data.testsets import names, test_set


@dataclass(frozen=True)
class Sizes:
    """How large a world is: rows of the lists, images per class of the test sets."""

    cc3m_train: int
    cc3m_validation: int
    yfcc15m: int
    testset_train_per_class: int
    testset_test_per_class: int


def build(out: Path, seed: int, sizes: Sizes, port: int, processes: int) -> dict[str, Any]:
    """Build the world in `out`, replacing an older world there; returns the content of its `toy_data.json`.

    The same arguments give the same bytes on the same machine. Raises `InputError` where `out`
    holds something that is not a world.
    """
    _check_replaceable(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    beside = out.with_name(f".{out.name}.{os.getpid()}")
    shutil.rmtree(beside, ignore_errors=True)
    try:
        with io_errors_at(out):
            record = _write(beside, seed, sizes, port, processes)
        if out.exists():
            aside = out.with_name(f".{out.name}.{os.getpid()}.old")
            out.rename(aside)
            beside.rename(out)
            shutil.rmtree(aside)
        else:
            beside.rename(out)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return record


def _check_replaceable(out: Path) -> None:
    """Folders without files may be there (Snakemake makes the parents of outputs), and an older world."""
    if out.exists() and not (out / "toy_data.json").is_file():
        found = next(
            (path for path in out.rglob("*") if path.is_file() and not path.name.startswith(".")), None
        )
        if found is not None:
            raise InputError(
                f"{out}: holds {found.relative_to(out)} but no toy_data.json; give --out an empty or new folder"
            )


def _write(root: Path, seed: int, sizes: Sizes, port: int, processes: int) -> dict[str, Any]:
    images: list[ImageFile] = []
    record: dict[str, Any] = {
        "seed": seed,
        "port": port,
        "sizes": asdict(sizes),
        "cc3m": {},
        "yfcc15m": {},
        "testsets": {},
    }
    (root / "cc3m").mkdir(parents=True)
    for split, rows in (("train", sizes.cc3m_train), ("validation", sizes.cc3m_validation)):
        text, behind, record["cc3m"][split] = conceptual_list(seed, split, rows, port)
        (root / "cc3m" / LISTS[split]).write_text(text, encoding="utf-8")
        images += _below("www", behind)

    metadata, subset, behind, record["yfcc15m"]["train"] = flickr_world(seed, sizes.yfcc15m)
    (root / "yfcc15m").mkdir()
    _write_bz2(root / "yfcc15m" / "yfcc100m_dataset.bz2", metadata)
    _write_bz2(root / "yfcc15m" / "yfcc100m_subset_data.tsv.bz2", subset)
    record["yfcc15m"]["train"]["metadata_rows"] = len(metadata)
    images += _below("www", behind)

    for dataset in names():
        made = test_set(seed, dataset, sizes.testset_train_per_class, sizes.testset_test_per_class)
        folder = root / "testsets" / dataset
        for name in made.folders:
            (folder / name).mkdir(parents=True)
        if made.classes_file:
            (folder / "classes.txt").write_text(made.classes_file, encoding="utf-8")
        description = yaml.safe_dump(made.description, sort_keys=False, allow_unicode=True, width=110)
        folder.with_suffix(".yaml").write_text(description, encoding="utf-8")
        images += _below(f"testsets/{dataset}", made.images)
        record["testsets"][dataset] = {**made.description["expected"], "test": made.description["test"]}

    _render(root, images, processes)
    write_json(root / "toy_data.json", record)
    return record


def _below(folder: str, images: list[ImageFile]) -> list[ImageFile]:
    return [ImageFile(f"{folder}/{image.path}", image.scene, image.form) for image in images]


def _write_bz2(path: Path, lines: Iterable[str]) -> None:
    with bz2.open(path, "wt", encoding="utf-8", newline="\n") as file:
        file.writelines(f"{line}\n" for line in lines)


def _render(root: Path, images: list[ImageFile], processes: int) -> None:
    for folder in {(root / image.path).parent for image in images}:
        folder.mkdir(parents=True, exist_ok=True)
    work = partial(write_image, root=root)
    progress = partial(tqdm, total=len(images), desc="painting", unit=" images", mininterval=1.0)
    if processes == 1:
        for _ in progress(map(work, images)):
            pass
        return
    with process_pool(processes) as pool:
        for _ in progress(pool.map(work, images, chunksize=32)):
            pass
