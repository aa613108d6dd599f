"""Prepare a test set: download or read its distribution and convert it to validated class folders.

The result has the layout `<split>/<class>/<image>`.
"""

import os
import shutil
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from cloob.common.archive import extract_archive, is_archive
from cloob.common.atomic_files import atomic_write
from cloob.common.directories import remove_tree
from cloob.common.errors import InputError, io_errors_at, raise_if_io_error
from cloob.common.http_file import RemoteFile, checksum_mismatch, download_file
from cloob.common.locks import exclusive_dir_lock
from cloob.common.text import SNIFF_BYTES, describe_non_text
from cloob.evaluate.testsets.from_webdataset import convert_webdataset
from cloob.evaluate.testsets.image_folder import LabeledFolder
from cloob.evaluate.testsets.layouts import LAYOUTS
from cloob.evaluate.testsets.spec import SPLITS, TestSetSpec
from cloob.evaluate.webdataset.download import RemoteFolder, download_remedy, download_webdataset

_MAX_EXPANSION = 3  # images are compressed already: a test set's archive does not expand more


@dataclass(frozen=True)
class Distribution:
    """A form in which a test set is distributed: its layout, and its files with their target folders."""

    layout: str
    files: tuple[tuple[RemoteFile, str], ...] = ()


def distribution(spec: TestSetSpec, name: str) -> Distribution:
    """The distribution `name` (processed or official) of a test set. Raises `InputError`."""
    content = spec.source.get(name)
    if content is None:
        existing = ", ".join(key for key, value in spec.source.items() if isinstance(value, dict)) or "none"
        raise InputError(f"{spec.path}: key 'source.{name}' is missing; the distributions are: {existing}")
    files = tuple(
        (RemoteFile(file["url"], file["max_bytes"], file.get("checksum")), file.get("into", "."))
        for file in content.get("files") or []
    )
    names = [_file_name(source) for source, _ in files]
    if {"", ".."} & set(names) or len(set(names)) != len(names):
        raise InputError(
            f"{spec.path}: key 'source.{name}.files': every URL needs a distinct file name; "
            f"found {', '.join(names)}"
        )
    return Distribution(content["layout"], files)


def _file_name(source: RemoteFile) -> str:
    return Path(unquote(urlsplit(source.url).path)).name


def prepare(
    spec: TestSetSpec,
    name: str,
    archives: Path,
    out: Path,
    local_files: Path | None,
    workers: int = 0,
    splits: Sequence[str] = ("test", "train"),
    webdataset_prompts: bool = False,
) -> None:
    """Download a distribution (or read `local_files`) and convert it to validated class folders in `out`.

    `name` is processed, official or webdataset. Downloads remain in `archives`, complete or partial, for the
    next attempt. `out` is created only if its images and classes match the spec. Of webdataset tars, only
    `splits` are read; for `webdataset_prompts` see `convert_webdataset`. Raises `InputError`.
    """
    chosen = distribution(spec, name) if name != "webdataset" else None
    if chosen and local_files is None and not chosen.files:
        page = spec.source.get("page", "its website")
        raise InputError(
            f"{spec.path}: its {name} files cannot be downloaded automatically; get them from {page} and "
            "give their folder as `local_files` in the config"
        )
    if out.is_dir() and any(out.iterdir()):
        raise InputError(f"{out}: exists already; delete it to prepare it again")
    unpacked, incomplete = archives / "unpacked", out.with_name(f".{out.name}.unfinished")
    with exclusive_dir_lock(archives):
        for leftover in (unpacked, incomplete):
            remove_tree(leftover)
        try:
            incomplete.parent.mkdir(parents=True, exist_ok=True)
            if chosen:
                root = local_files or _download(chosen, archives, unpacked)
                _convert(spec, name, root, incomplete, workers)
            else:
                splits = [split for split in ("test", "train") if split in splits and spec.folder_of(split)]
                root = local_files or _download_webdataset(spec, splits, archives)
                with nullcontext() if local_files else download_remedy():
                    spec = convert_webdataset(spec, root, incomplete, splits, webdataset_prompts)
            test = LabeledFolder(spec, incomplete)
            for split in SPLITS[1:]:  # the processed archives have the test split only
                if (folder := spec.folder_of(split)) and (incomplete / folder).is_dir():
                    LabeledFolder(spec, incomplete, split)
            if out.is_dir():
                out.rmdir()
            incomplete.rename(out)
            print(f"{out}: {len(test):,} test images of {len(test.class_names)} classes, as expected")
        finally:
            for leftover in (unpacked, incomplete):
                remove_tree(leftover)


def _convert(spec: TestSetSpec, name: str, root: Path, out: Path, workers: int) -> None:
    layout = LAYOUTS[distribution(spec, name).layout]
    try:
        layout(spec, root, out, workers)
    except (OSError, RuntimeError, KeyError, ValueError, IndexError) as error:
        raise_if_io_error(error, root)
        raise InputError(
            f"{root}: not the {name} files of {spec.title} ({error}); expected: "
            f"{' '.join((layout.__doc__ or '').split())}"
        ) from None


def _download_webdataset(spec: TestSetSpec, splits: Sequence[str], archives: Path) -> Path:
    content = spec.source.get("webdataset")
    if not content:
        raise InputError(
            f"{spec.path}: key 'source.webdataset' is missing, because no public copy is known; give your "
            "folder as `local_files` in the config, or a base URL there"
        )
    remote = RemoteFolder(content["url"], content["max_bytes"])
    return download_webdataset(remote, splits, archives / "webdataset")


def _download(chosen: Distribution, archives: Path, unpacked: Path) -> Path:
    """Download the missing files and unpack the archives; returns the folder with the result."""
    for source, into in chosen.files:
        file = archives / _file_name(source)
        _delete_if_of_another_url(file, source.url)
        if not file.exists():
            download_file(source, file)
        target = unpacked / "all" / into
        target.mkdir(parents=True, exist_ok=True)
        try:
            if is_archive(file):
                extract_archive(file, unpacked / "one", _MAX_EXPANSION * source.max_bytes)
                with io_errors_at(target):
                    shutil.copytree(unpacked / "one", target, dirs_exist_ok=True, copy_function=shutil.move)
                remove_tree(unpacked / "one")
            elif file.suffix in (".zip", ".tgz", ".gz", ".tar"):
                with file.open("rb") as opened:
                    content = describe_non_text(opened.read(SNIFF_BYTES)) or "damaged"
                raise InputError(f"{file}: not an archive, but {content}; delete it to download it again")
            else:
                shutil.copyfile(file, target / file.name)
        except InputError as error:
            if difference := checksum_mismatch(source, file):
                raise InputError(f"{error}; {difference}: delete the file and run again") from None
            raise
    return unpacked / "all"


def _delete_if_of_another_url(file: Path, url: str) -> None:
    """Delete a download of another URL; a file without a record of its URL was copied there by the user."""
    record = file.with_name(f".{file.name}.url")
    if record.exists():
        if record.read_bytes() == os.fsencode(url):
            return
        file.unlink(missing_ok=True)
    if not file.exists():
        with atomic_write(record) as temporary:
            temporary.write_bytes(os.fsencode(url))
