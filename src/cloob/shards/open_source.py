"""Open the images and captions of a `LocalSource`, by its entry in `cloob.shards.local_sources`."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from cloob.common.errors import InputError
from cloob.shards.from_image_folder import image_folder_source, image_table_source
from cloob.shards.from_webdataset import webdataset_source
from cloob.shards.local_sources import LocalSource
from cloob.shards.source import PackSource


def open_local_source(
    source: LocalSource, folders: Sequence[Path], options: dict[str, Any], out: Path, max_bytes: int
) -> PackSource:
    """All samples in the folders; files of more than `max_bytes` are rejected.

    Raises `InputError` for unusable folders and options, and if the output folder contains a folder or is in
    one.
    """
    for folder in folders:
        existing, output = folder.resolve(), out.resolve()
        if existing.is_relative_to(output) or output.is_relative_to(existing):
            raise InputError(f"{output}: would overwrite existing files in {existing}; give another --out")
    return _SOURCES[source.key](folders, max_bytes, **options)


def _images(
    folders: Sequence[Path], max_bytes: int, captions: Path | None = None, **columns: Any
) -> PackSource:
    [folder] = folders
    if captions is not None:
        return image_table_source(folder, captions, max_bytes, **columns)
    if columns:
        flags = ", ".join(f"--{option.replace('_', '-')}" for option in columns)
        raise InputError(f"{flags}: only with --captions; give the table, or leave the columns out")
    return image_folder_source(folder, max_bytes)


_SOURCES: dict[str, Callable[..., PackSource]] = {"shards": webdataset_source, "images": _images}
