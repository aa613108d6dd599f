"""Image files of users: find them in a folder, decode them with one-line errors."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from PIL.Image import Image

from cloob.common.errors import InputError, io_errors_at
from cloob.images.decoding import ImageError, decode_for_model

# Suffixes of the formats that `cloob.images.decoding` reads.
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm")
MAX_FILE_BYTES = 500_000_000


def read_image(path: str | Path) -> Image:
    """Decode an image file to upright RGB for a model. Raises `InputError` if that is not possible."""
    try:
        content = read_image_file(path)
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(f"{path}: no such file; give image files") from None
    try:
        return decode_for_model(content)
    except ImageError as error:
        raise InputError(f"{path}: not a readable image ({error}); replace or omit it") from None


def read_image_file(path: str | Path) -> bytes:
    """The bytes of an image file. Raises `InputError` unless it is a regular file of a plausible size."""
    path = Path(path)
    with io_errors_at(path):
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # a device or a pipe may never end
            kind = "a folder" if stat.S_ISDIR(status.st_mode) else "not a regular file"
            raise InputError(f"{path}: {kind}; give image files")
        if status.st_size > MAX_FILE_BYTES:
            raise InputError(f"{path}: larger than {MAX_FILE_BYTES / 1e6:.0f} MB; give a smaller image")
        return path.read_bytes()


def find_images(folder: Path) -> list[Path]:
    """The image files in a folder and its subfolders, by suffix, sorted by path; relative to the folder.

    Hidden files and folders are skipped, links to folders are not followed. Links that lead nowhere or form a
    cycle are included; reading them is an error. Raises `InputError` if there is no image, `OSError` if a
    folder cannot be read.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: {'not a folder' if folder.exists() else 'no such folder'}")
    found = sorted(_image_files(folder))
    if not found:
        raise InputError(f"{folder}: no images with a known suffix ({', '.join(SUFFIXES)})")
    return [path.relative_to(folder) for path in found]


def _image_files(folder: Path) -> Iterator[Path]:
    pending = [folder]  # not recursive: folders may be nested deeper than Python's stack
    while pending:
        with os.scandir(pending.pop()) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if entry.is_dir(follow_symlinks=False):
                    pending.append(Path(entry.path))
                elif entry.name.lower().endswith(SUFFIXES) and _is_file_or_broken_link(entry):
                    yield Path(entry.path)


def _is_file_or_broken_link(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_file() or (entry.is_symlink() and not entry.is_dir())
    except OSError:  # a cycle of links
        return entry.is_symlink()
