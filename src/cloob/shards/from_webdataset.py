"""Read existing webdataset shards: tars of images, with captions in .txt or .json members, and any keys."""

import json
import os
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any

from cloob.common.accounting import RejectedError
from cloob.common.errors import InputError
from cloob.shards.source import InputSample, PackSource, read_byte_range
from cloob.shards.webdataset_tars import (
    TarMember,
    TarSample,
    common_root,
    decompress_tar,
    find_tars,
    has_uncompressed_copy,
    read_samples,
)

_NESTING_MARGIN = 100
_IMAGE_SUFFIXES = ("jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff", "ppm", "pgm", "pbm", "pnm")
_MAX_NAMES_SHOWN = 5


@dataclass(frozen=True)
class _TarChunk:
    root: Path  # tar names in the output are relative to it
    tar: Path
    number: int
    max_bytes: int

    @property
    def fingerprint(self) -> str:
        status = self.tar.stat()
        return f"{self._name} {self.number} {status.st_size} {status.st_mtime_ns}"

    @property
    def _name(self) -> str:
        return _as_utf8(os.path.relpath(self.tar, self.root))

    def samples(self, scratch_file: Path) -> list[InputSample]:
        """All samples that webdataset would read; a compressed tar is decompressed to `scratch_file`."""
        plain_tar = decompress_tar(self.tar, scratch_file)
        is_copy = plain_tar != self.tar and has_uncompressed_copy(self.tar, plain_tar)
        try:
            tar_samples, skipped = read_samples(plain_tar)
        except InputError as error:  # the user knows the compressed file, not the decompressed copy
            raise InputError(str(error).replace(str(plain_tar), str(self.tar))) from None
        if skipped:
            _print_names(
                f"{self.tar}: skipped {sum(skipped.values()):,} members that belong to no sample", skipped
            )
        occurrences: Counter[str] = Counter()
        samples = []
        for index, tar_sample in enumerate(tar_samples):
            occurrences[tar_sample.key] += 1
            uid = f"{self.number:06d}_{index:06d}"
            try:
                if is_copy:
                    raise RejectedError("duplicate_tar")
                if occurrences[tar_sample.key] > 1:
                    raise RejectedError("duplicate_key")
                samples.append(self._sample(uid, tar_sample, plain_tar))
            except RejectedError as rejection:
                samples.append(InputSample(uid, "", None, rejected=str(rejection)))
        return samples

    def _sample(self, uid: str, tar_sample: TarSample, plain_tar: Path) -> InputSample:
        if not _is_safe(tar_sample.key):
            raise RejectedError("unsafe_name")
        members = dict(tar_sample.members)
        if len(members) < len(tar_sample.members):
            raise RejectedError("duplicate_key")
        image = next((members[suffix] for suffix in _IMAGE_SUFFIXES if suffix in members), None)
        if image is None:
            raise RejectedError("not_a_file" if tar_sample.has_special_member else "no_image")
        for member in (image, members.get("json"), members.get("txt")):
            if member is not None and member.is_sparse:
                raise RejectedError("not_a_file")
            if member is not None and member.size > self.max_bytes:
                raise RejectedError("too_many_bytes")
        metadata = _read_json(plain_tar, members.get("json"))
        caption = _read_text(plain_tar, members["txt"]) if "txt" in members else metadata.get("caption")
        if not isinstance(caption, str):
            raise RejectedError("not_a_file" if tar_sample.has_special_member else "no_caption")
        provenance = {"url": metadata.get("url"), "tar": self._name, "key": tar_sample.key}
        if metadata:
            provenance["json"] = metadata
        try:
            json.dumps([caption, provenance], ensure_ascii=False, allow_nan=False).encode("utf-8")
        except UnicodeEncodeError:  # an unpaired surrogate, written as \ud800 in the JSON
            raise RejectedError("not_utf8") from None
        except ValueError:  # a number that overflows a float
            raise RejectedError("bad_json") from None
        return InputSample(uid, caption, (plain_tar, image.offset, image.size), None, provenance)


def webdataset_source(folders: Sequence[Path], max_bytes: int) -> PackSource:
    """All samples of the tars in the folders and their subfolders, in the order of folders and file names.

    Symbolic links are followed; gzip, bzip2 and xz are read. A sample is rejected if a member has more than
    `max_bytes`, its key occurs twice in a tar or is an unsafe path, the image or the caption is missing, or
    a text is not UTF-8. Raises `InputError` if there is no tar.
    """
    tars, other_files = find_tars(folders)
    shown = ", ".join(map(str, folders))
    if other_files:
        _print_names(f"{shown}: {len(other_files):,} files are not read", other_files)
    if not tars:
        raise InputError(
            f"{shown}: contains no *.tar (or .tar.gz, …); give the folder of the webdataset shards"
        )
    root = common_root(folders)
    chunks = [_TarChunk(root, tar, number, max_bytes) for number, tar in enumerate(tars)]
    return PackSource(
        chunks, None, {"tars": len(tars), "files_not_read": [_as_utf8(name) for name in other_files]}
    )


def _as_utf8(file_name: str) -> str:
    """A file name for JSON, with bytes that are not UTF-8 replaced."""
    return os.fsencode(file_name).decode("utf-8", "replace")


def _print_names(message: str, names: Iterable[str]) -> None:
    shown = [repr(name) for name in islice(names, _MAX_NAMES_SHOWN + 1)]
    ellipsis = ", …" if len(shown) > _MAX_NAMES_SHOWN else ""
    print(f"{message}: {', '.join(shown[:_MAX_NAMES_SHOWN])}{ellipsis}", file=sys.stderr)


def _read_json(tar: Path, member: TarMember | None) -> dict[str, Any]:
    if member is None:
        return {}
    try:
        # Parsed inside extra brackets: JSON nested close to Python's recursion limit would be readable here
        # but no longer when it is embedded in the sample's own JSON.
        text = "[" * _NESTING_MARGIN + _read_text(tar, member) + "]" * _NESTING_MARGIN
        content = json.loads(text, parse_constant=lambda _: None)  # NaN is invalid JSON, but common
        for _ in range(_NESTING_MARGIN):
            (content,) = content
    except (ValueError, RecursionError):
        raise RejectedError("bad_json") from None
    return content if isinstance(content, dict) else {}


def _read_text(tar: Path, member: TarMember) -> str:
    try:
        return read_byte_range((tar, member.offset, member.size)).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise RejectedError("not_utf8") from None


def _is_safe(key: str) -> bool:
    path = PurePosixPath(key)
    return key.isprintable() and not path.is_absolute() and ".." not in path.parts and "\\" not in key
