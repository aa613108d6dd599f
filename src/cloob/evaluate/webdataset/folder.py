"""A folder in CLIP_benchmark's webdataset layout: its text files, and the samples of its tars.

    classnames.txt                           one class name per line, in the order of the labels
    zeroshot_classification_templates.txt    one prompt per line, with {c} for the class name
    dataset_type.txt                         `retrieval` or `multilabel`; absent for classification
    SPLIT/nshards.txt                        the number of tars
    SPLIT/0.tar, SPLIT/1.tar, …              per sample an image and .cls (a label from 0) or .txt (captions)

The format is that of clip-benchmark 1.6. Tars are read in order, in bounded memory.
"""

import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from pathlib import Path

from cloob.common.errors import InputError, io_errors_at
from cloob.common.text import SNIFF_BYTES, describe_non_text, has_control_characters, read_text
from cloob.shards.source import read_byte_range
from cloob.shards.webdataset_tars import key_and_suffix, read_members

CLASS_NAMES, TEMPLATES = "classnames.txt", "zeroshot_classification_templates.txt"
DATASET_TYPE, NUM_SHARDS = "dataset_type.txt", "nshards.txt"
IMAGE_SUFFIXES = ("webp", "png", "jpg", "jpeg")  # in the order in which clip-benchmark looks for them
MAX_TEXT_FILE_BYTES = 1_000_000
_MAX_SHARDS = 100_000
_MAX_SAMPLES_PER_TAR = 2_000_000
_MAX_IMAGE_BYTES = 100_000_000
_MAX_ANNOTATION_BYTES = {"cls": 100, "txt": 100_000}


class DamagedFileError(InputError):
    """The content of a file is damaged: downloaded again, it may be right."""


@dataclass(frozen=True)
class Sample:
    """An image in a tar with its annotation: the content of its .cls or .txt member."""

    tar: Path
    key: str
    image_suffix: str
    image_offset: int
    image_size: int
    annotation: bytes

    def __str__(self) -> str:
        """`TAR: sample 'KEY'`, for error messages."""
        return f"{self.tar}: sample {self.key!r}"

    def image(self) -> bytes:
        """The bytes of the image."""
        return read_byte_range((self.tar, self.image_offset, self.image_size))

    def without_annotation(self) -> "Sample":
        """The sample with an empty annotation, which takes less memory."""
        return replace(self, annotation=b"")


@dataclass
class _Members:
    """The members of one sample that are used, by suffix: (offset, size)."""

    key: str
    found: dict[str, tuple[int, int]] = field(default_factory=dict)


def dataset_type(root: Path) -> str:
    """`classification` (without `dataset_type.txt`), `retrieval` or `multilabel`."""
    path = root / DATASET_TYPE
    return _read_small_text(path).strip().lower() if path.exists() else "classification"


def class_names(root: Path) -> list[str] | None:
    """The lines of `classnames.txt`, stripped; None if it does not exist. Raises `InputError`."""
    return _lines(root / CLASS_NAMES, "class name")


def templates(root: Path) -> list[str] | None:
    """The prompts with `{}` for the class name; None if the file does not exist. Raises `InputError`."""
    path = root / TEMPLATES
    lines = _lines(path, "prompt")
    for number, line in enumerate(lines or [], start=1):
        if re.findall(r"[{}][^{}]*[{}]?", line) != ["{c}"]:
            raise InputError(f"{path}: line {number} is {line[:80]!r}; each prompt needs exactly one {{c}}")
    return lines and [line.replace("{c}", "{}") for line in lines]


def num_shards(path: Path) -> int:
    """The number in an `nshards.txt`. Raises `InputError`."""
    text = _read_small_text(path).strip()
    if not re.fullmatch("[0-9]{1,6}", text) or not 1 <= int(text) <= _MAX_SHARDS:
        raise DamagedFileError(f"{path}: {text[:20]!r} is not a number of tars from 1 to {_MAX_SHARDS:,}")
    return int(text)


def tars_of_split(root: Path, split: str) -> list[Path]:
    """The tars of a split, in order. Raises `InputError` if they are not those that `nshards.txt` counts."""
    folder = root / split
    if not folder.is_dir():
        raise InputError(f"{root}: no folder {split!r}; give the folder that contains it")
    if not (folder / NUM_SHARDS).exists():
        raise InputError(f"{folder}: no {NUM_SHARDS}; write the number of its tars (0.tar, 1.tar, …) into it")
    count = num_shards(folder / NUM_SHARDS)
    tars = [folder / f"{number}.tar" for number in range(count)]
    for tar in tars:
        if not tar.is_file():
            raise InputError(
                f"{tar}: missing, {NUM_SHARDS} lists {count} tars; download it, or correct the number"
            )
    extra = sorted(set(folder.glob("*.tar")) - set(tars))
    if extra:
        raise InputError(
            f"{extra[0]}: not one of the {count} tars (0.tar, 1.tar, …) that {NUM_SHARDS} lists; correct the "
            "number, or remove the file"
        )
    return tars


def read_samples(tars: list[Path], annotation: str) -> Iterator[Sample]:
    """The samples of tars in order, each with its member `annotation` (cls or txt).

    As webdataset does, consecutive members with one key are a sample, and only files count. Raises
    `InputError`, naming the tar and the sample, if the image or the annotation is missing, a member is too
    large, or a key occurs twice in a tar; `DamagedFileError` if the tar is damaged.
    """
    used = {*IMAGE_SUFFIXES, annotation}
    for tar in tars:
        _check_is_plain_tar(tar)
        digests: set[bytes] = set()
        current: _Members | None = None
        for member in _read_members(tar):
            parts = key_and_suffix(member.name)
            if parts is None or member.isdir():
                continue
            key, suffix = parts
            if current is None or key != current.key:
                if current is not None:
                    yield _sample(tar, current, annotation)
                _add_key(digests, key, tar)
                current = _Members(key)
            if suffix in used:
                if not member.isreg() or member.issparse():
                    raise InputError(
                        f"{tar}: sample {key[:80]!r}: its member .{suffix} is a link, a device or sparse; "
                        "write a plain file"
                    )
                _add_member(tar, current, suffix, member, annotation)
        if current is None:
            raise DamagedFileError(f"{tar}: contains no samples; download it again")
        yield _sample(tar, current, annotation)


def _read_members(tar: Path) -> Iterator[tarfile.TarInfo]:
    try:
        yield from read_members(tar)
    except InputError as error:
        raise DamagedFileError(str(error)) from None


def _add_key(digests: set[bytes], key: str, tar: Path) -> None:
    digest = blake2b(key.encode("utf-8", "surrogateescape"), digest_size=8).digest()
    if digest in digests:
        raise InputError(
            f"{tar}: sample {key[:80]!r} occurs twice; give each sample its own key, and write its members "
            "next to each other"
        )
    digests.add(digest)
    if len(digests) > _MAX_SAMPLES_PER_TAR:
        raise InputError(f"{tar}: rejected, more than {_MAX_SAMPLES_PER_TAR:,} samples")


def _add_member(tar: Path, current: _Members, suffix: str, member: tarfile.TarInfo, annotation: str) -> None:
    limit = _MAX_ANNOTATION_BYTES[annotation] if suffix == annotation else _MAX_IMAGE_BYTES
    if member.size > limit:
        raise InputError(
            f"{tar}: sample {current.key[:80]!r}: its .{suffix} has {member.size:,} bytes, more than the "
            f"{limit:,} that are read; correct the member"
        )
    if suffix in current.found:
        raise InputError(f"{tar}: sample {current.key[:80]!r} has two members .{suffix}; remove one")
    current.found[suffix] = member.offset_data, member.size


def _sample(tar: Path, members: _Members, annotation: str) -> Sample:
    image = next((suffix for suffix in IMAGE_SUFFIXES if suffix in members.found), None)
    if image is None or annotation not in members.found:
        expected = "image (.webp, .png, .jpg or .jpeg)" if image is None else f".{annotation}"
        raise InputError(
            f"{tar}: sample {members.key[:80]!r} has no {expected}; add it, or remove the sample"
        )
    content = read_byte_range((tar, *members.found[annotation]))
    return Sample(tar, members.key[:80], image, *members.found[image], content)


def _check_is_plain_tar(tar: Path) -> None:
    with io_errors_at(tar), tar.open("rb") as file:
        start = file.read(SNIFF_BYTES)
    if start[257:262] != b"ustar" and (description := describe_non_text(start)):
        raise DamagedFileError(f"{tar}: not a plain tar, but {description}")


def _lines(path: Path, content: str) -> list[str] | None:
    if not path.exists():
        return None
    lines = [line.strip() for line in _read_small_text(path).rstrip().splitlines()]
    for number, line in enumerate(lines, start=1):
        if not line or has_control_characters(line):
            raise InputError(f"{path}: line {number} is {line[:80]!r}; give one {content} per line")
    if not lines:
        raise InputError(f"{path}: empty; give one {content} per line, or remove the file")
    return lines


def _read_small_text(path: Path) -> str:
    if path.stat().st_size > MAX_TEXT_FILE_BYTES:
        raise InputError(f"{path}: more than {MAX_TEXT_FILE_BYTES:,} bytes; download it again")
    return read_text(path)
