"""Generate the toy dataset: two corpora and eight test sets, written to a temporary folder and renamed."""

import bz2
import os
import shutil
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import yaml
from tqdm import tqdm

from cloob.common.errors import InputError, io_errors_at
from cloob.common.json_files import write_json
from cloob.common.processes import process_pool
from cloob.toy_data.conceptual_captions import conceptual_captions, valid_pairs
from cloob.toy_data.layout import CC3M_LISTS, CC3M_TARS, FORMATS, SERVED, YFCC15M_METADATA, YFCC15M_SUBSET
from cloob.toy_data.render import ImageFile, write_image
from cloob.toy_data.tars import Tar, tars_of, write_tar
from cloob.toy_data.testsets import list_testsets, make_testset
from cloob.toy_data.yfcc100m import yfcc100m

METADATA_FILE = "toy_data.json"


@dataclass(frozen=True)
class Sizes:
    """Size of the toy dataset: rows of the URL lists, images per class of the test sets."""

    cc3m_train: int
    cc3m_validation: int
    yfcc15m: int
    testset_train_per_class: int
    testset_test_per_class: int


def build(
    out: Path, seed: int, sizes: Sizes, port: int, processes: int, form: str = FORMATS[0]
) -> dict[str, Any]:
    """Generate the toy dataset in `out`, replacing an older one; returns the content of `toy_data.json`.

    The corpora are URL lists with their images, or, in the form `webdataset`, tars of the valid pairs of
    Conceptual Captions.

    The same arguments give the same bytes on the same machine. Raises `InputError` if `out` is a file,
    or contains files that are not a toy dataset.
    """
    _check_replaceable(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = out.with_name(f".{out.name}.{os.getpid()}")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        with io_errors_at(out):
            metadata = _write(temporary, seed, sizes, port, processes, form)
        if out.exists():
            previous = out.with_name(f".{out.name}.{os.getpid()}.old")
            out.rename(previous)
            temporary.rename(out)
            shutil.rmtree(previous)
        else:
            temporary.rename(out)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return metadata


def _check_replaceable(out: Path) -> None:
    """Accept an older toy dataset, and empty folders: Snakemake creates the parents of outputs."""
    if out.exists() and not out.is_dir():
        raise InputError(f"{out}: not a folder; set --out to an empty or new folder")
    if out.exists() and not (out / METADATA_FILE).is_file():
        other = next(
            (path for path in out.rglob("*") if path.is_file() and not path.name.startswith(".")), None
        )
        if other is not None:
            raise InputError(
                f"{out}: contains {other.relative_to(out)} but no {METADATA_FILE}; "
                "set --out to an empty or new folder"
            )


def _write(root: Path, seed: int, sizes: Sizes, port: int, processes: int, form: str) -> dict[str, Any]:
    images: list[ImageFile] = []
    tars: list[Tar] = []
    metadata: dict[str, Any] = {
        "seed": seed,
        "port": port,
        "sizes": asdict(sizes),
        "cc3m": {},
        "yfcc15m": {},
        "testsets": {},
    }
    for split, rows in (("train", sizes.cc3m_train), ("validation", sizes.cc3m_validation)):
        if form == "webdataset":
            pairs = valid_pairs(seed, split, rows)
            metadata["cc3m"][split] = {"pairs": len(pairs)}
            tars += tars_of(root / CC3M_TARS[split], pairs)
            continue
        text, served, metadata["cc3m"][split] = conceptual_captions(seed, split, rows, port)
        (root / "cc3m").mkdir(parents=True, exist_ok=True)
        (root / CC3M_LISTS[split]).write_text(text, encoding="utf-8")
        images += _in_folder(SERVED, served)

    if form == "url_lists":
        rows_of_metadata, subset, served, metadata["yfcc15m"]["train"] = yfcc100m(seed, sizes.yfcc15m)
        (root / "yfcc15m").mkdir()
        _write_bz2(root / YFCC15M_METADATA, rows_of_metadata)
        _write_bz2(root / YFCC15M_SUBSET, subset)
        metadata["yfcc15m"]["train"]["metadata_rows"] = len(rows_of_metadata)
        images += _in_folder(SERVED, served)

    for name in list_testsets():
        testset = make_testset(seed, name, sizes.testset_train_per_class, sizes.testset_test_per_class)
        folder = root / "testsets" / name
        for class_folder in testset.folders:
            (folder / class_folder).mkdir(parents=True)
        if testset.classes_file:
            (folder / "classes.txt").write_text(testset.classes_file, encoding="utf-8")
        spec = yaml.safe_dump(testset.spec, sort_keys=False, allow_unicode=True, width=110)
        folder.with_suffix(".yaml").write_text(spec, encoding="utf-8")
        images += _in_folder(f"testsets/{name}", testset.images)
        metadata["testsets"][name] = {**testset.spec["expected"], "test": testset.spec["test"]}

    _render_all(root, images, tars, processes)
    write_json(root / METADATA_FILE, metadata)
    return metadata


def _in_folder(folder: str, images: list[ImageFile]) -> list[ImageFile]:
    return [ImageFile(f"{folder}/{image.path}", image.scene, image.form) for image in images]


def _write_bz2(path: Path, lines: Iterable[str]) -> None:
    with bz2.open(path, "wt", encoding="utf-8", newline="\n") as file:
        file.writelines(f"{line}\n" for line in lines)


def _render_all(root: Path, images: list[ImageFile], tars: list[Tar], processes: int) -> None:
    for folder in {(root / image.path).parent for image in images} | {tar.path.parent for tar in tars}:
        folder.mkdir(parents=True, exist_ok=True)
    write = partial(write_image, root=root)
    progress = partial(tqdm, mininterval=1.0)
    work: list[tuple[str, Callable[[Any], None], list[Any], int]] = [
        ("images", write, images, 32),
        ("tars", write_tar, tars, 1),
    ]
    if processes == 1:
        for unit, function, items, _ in work:
            for _ in progress(map(function, items), total=len(items), desc="rendering", unit=f" {unit}"):
                pass
        return
    with process_pool(processes) as pool:
        for unit, function, items, chunk in work:
            parts = [items[start : start + chunk] for start in range(0, len(items), chunk)]
            tasks = [(len(part), pool.submit(_write_all, function, part)) for part in parts]
            with progress(total=len(items), desc="rendering", unit=f" {unit}") as bar:
                for number, task in tasks:
                    task.result()
                    bar.update(number)


def _write_all(function: Callable[[Any], None], items: list[Any]) -> None:
    for item in items:
        function(item)
