"""A test set from where it is handed out to class folders that were checked: `<split>/<class>/<image>`."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from cloob.common.archive import extract_archive, is_archive
from cloob.common.directories import remove_tree
from cloob.common.errors import InputError, io_errors_at, raise_if_io_error
from cloob.common.http_file import RemoteFile, checksum_mismatch, download_file
from cloob.common.text import SNIFF_BYTES, describe_non_text
from cloob.common.yaml_file import value_hint
from cloob.evaluate.testsets.image_folder import LabeledFolder
from cloob.evaluate.testsets.layouts import LAYOUTS
from cloob.evaluate.testsets.spec import SPLITS, Description
from cloob.evaluate.testsets.spec_keys import shown

_EXPANSION = 3  # pictures are compressed already: an archive that grows more is no test set


@dataclass(frozen=True)
class Handout:
    """A form in which a set is handed out: its layout, and files with the folder that each goes into."""

    layout: str
    files: tuple[tuple[RemoteFile, str], ...] = ()


def handout(description: Description, name: str) -> Handout:
    """The set as handed out `name` (processed, official). Raises `InputError` naming what is wrong."""
    where = f"{description.path}: key 'source: {name}'"
    content = description.source.get(name)
    if not isinstance(content, dict):
        forms = ", ".join(key for key, each in description.source.items() if isinstance(each, dict)) or "none"
        raise InputError(f"{where} is missing; the set is handed out as: {forms}")
    layout, listed = content.get("layout"), content.get("files") or []
    if not isinstance(layout, str) or layout not in LAYOUTS or not set(content) <= {"layout", "files"}:
        raise InputError(f"{where} wants `layout` (one of {', '.join(LAYOUTS)}) and `files`")
    if not isinstance(listed, list):
        raise InputError(f"{where}: `files` is a list, each with an address; found {shown(listed)}")
    files = tuple(_file(each, where) for each in listed)
    names = [_name(source) for source, _ in files]
    if {"", ".."} & set(names) or len(set(names)) != len(names):
        raise InputError(f"{where}: every address wants a file name of its own; found {', '.join(names)}")
    return Handout(layout, files)


def _name(source: RemoteFile) -> str:
    return Path(unquote(urlsplit(source.url).path)).name


def _file(content: Any, where: str) -> tuple[RemoteFile, str]:
    try:
        content = dict(content)
        into = content.pop("into", ".")
        source = RemoteFile(**content)
        if type(source.max_bytes) is not int:
            raise TypeError(f"max_bytes is {source.max_bytes!r}: {value_hint(source.max_bytes, ['integer'])}")
        if Path(into).is_absolute() or ".." in Path(into).parts:
            raise ValueError("into leads elsewhere")
    except (TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{where}: a file wants address, checksum, max_bytes, into ({error})") from None
    return source, into


def prepare(
    description: Description, name: str, cache: Path, out: Path, original: Path | None, workers: int
) -> None:
    """Fetch the set (or read it from `original`), bring it into class folders at `out`, and check it.

    What is fetched stays in `cache`, whole or in part, for the next try. `out` comes into being only once its
    images and classes are what the description expects. Raises `InputError`.
    """
    form = handout(description, name)
    if original is None and not form.files:
        page = description.source.get("page", "from their makers")
        raise InputError(
            f"{description.path}: its {name} files cannot be fetched from here; get them ({page}) and name "
            "their folder: `original` in the config"
        )
    if out.is_dir() and any(out.iterdir()):
        raise InputError(f"{out}: is there already; delete it to make it anew")
    unpacked, arranged = cache / "unpacked", out.with_name(f".{out.name}.unfinished")
    for leftover in (unpacked, arranged):
        remove_tree(leftover)
    try:
        root = original or _fetched(form, cache, unpacked)
        arranged.parent.mkdir(parents=True, exist_ok=True)
        try:
            LAYOUTS[form.layout](description, root, arranged, workers)
        except (OSError, RuntimeError, KeyError, ValueError, IndexError) as error:
            raise_if_io_error(error, root)
            raise InputError(
                f"{root}: not the {name} files of {description.title} ({error}); they should be "
                f"{' '.join((LAYOUTS[form.layout].__doc__ or '').split())}"
            ) from None
        found = LabeledFolder(description, arranged)
        for split in SPLITS[1:]:  # the processed archives have none
            if (inside := description.folder_of(split)) and (arranged / inside).is_dir():
                LabeledFolder(description, arranged, split)
        if out.is_dir():
            out.rmdir()
        arranged.rename(out)
        print(f"{out}: {len(found):,} test images of {len(found.class_names)} classes, as expected")
    finally:
        for leftover in (unpacked, arranged):
            remove_tree(leftover)


def _fetched(form: Handout, cache: Path, unpacked: Path) -> Path:
    """Fetch what is missing of the files, unpack the archives; gives the folder that holds it all."""
    for source, into in form.files:
        file = cache / _name(source)
        if not file.exists():
            download_file(source, file)
        target = unpacked / "all" / into
        target.mkdir(parents=True, exist_ok=True)
        try:
            if is_archive(file):
                extract_archive(file, unpacked / "one", _EXPANSION * source.max_bytes)
                with io_errors_at(target):
                    shutil.copytree(unpacked / "one", target, dirs_exist_ok=True, copy_function=shutil.move)
                remove_tree(unpacked / "one")
            elif file.suffix in (".zip", ".tgz", ".gz", ".tar"):
                with file.open("rb") as opened:
                    form = describe_non_text(opened.read(SNIFF_BYTES)) or "damaged"
                raise InputError(f"{file}: not an archive, but {form}; delete it to fetch it again")
            else:
                shutil.copyfile(file, target / file.name)
        except InputError as error:
            if differs := checksum_mismatch(source, file):
                raise InputError(f"{error}; {differs}: delete the file and run again") from None
            raise
    return unpacked / "all"
