"""Read existing webdataset shards: tars of images, with captions in .txt or .json members, and any keys."""

import os
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from cloob.common.accounting import RejectedError
from cloob.common.errors import InputError
from cloob.shards.captioned_image import IMAGE_SUFFIXES, as_utf8, input_sample, is_safe, read_caption
from cloob.shards.source import InputSample, PackSource
from cloob.shards.webdataset_tars import (
    TarSample,
    common_root,
    decompress_tar,
    find_tars,
    has_uncompressed_copy,
    read_samples,
)

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
        return f"{self.tar} {self._name} {self.number} {status.st_size} {status.st_mtime_ns}"

    @property
    def _name(self) -> str:
        return as_utf8(os.path.relpath(self.tar, self.root))

    def samples(self, scratch_file: Path) -> list[InputSample]:
        """All samples that webdataset would read; a compressed tar is decompressed to `scratch_file`."""
        plain_tar = decompress_tar(self.tar, scratch_file)
        is_copy = plain_tar != self.tar and has_uncompressed_copy(self.tar, plain_tar)
        try:
            tar_samples, skipped = read_samples(plain_tar)
        except InputError as error:  # the user knows the compressed file, not the decompressed copy
            raise InputError(str(error).replace(str(plain_tar), str(self.tar))) from None
        if skipped:
            print_names(
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
        if not is_safe(tar_sample.key):
            raise RejectedError("unsafe_name")
        members = dict(tar_sample.members)
        if len(members) < len(tar_sample.members):
            raise RejectedError("duplicate_key")
        image = next((members[suffix] for suffix in IMAGE_SUFFIXES if suffix in members), None)
        if image is None:
            raise RejectedError("not_a_file" if tar_sample.has_special_member else "no_image")
        for member in (image, members.get("json"), members.get("txt")):
            if member is not None and member.is_sparse:
                raise RejectedError("not_a_file")
            if member is not None and member.size > self.max_bytes:
                raise RejectedError("too_many_bytes")
        text, record = (
            (plain_tar, member.offset, member.size) if member is not None else None
            for member in (members.get("txt"), members.get("json"))
        )
        caption, metadata = read_caption(text, record)
        if caption is None:
            raise RejectedError("not_a_file" if tar_sample.has_special_member else "no_caption")
        provenance = {"tar": self._name, "key": tar_sample.key}
        return input_sample(uid, (plain_tar, image.offset, image.size), caption, provenance, metadata)


def webdataset_source(folders: Sequence[Path], max_bytes: int) -> PackSource:
    """All samples of the tars in the folders and their subfolders, in the order of folders and file names.

    Symbolic links are followed; gzip, bzip2 and xz are read. A sample is rejected if a member has more than
    `max_bytes`, its key occurs twice in a tar or is an unsafe path, the image or the caption is missing, or
    a text is not UTF-8. Raises `InputError` if there is no tar.
    """
    tars, other_files = find_tars(folders)
    shown = ", ".join(map(str, folders))
    if other_files:
        print_names(f"{shown}: {len(other_files):,} files are not read", other_files)
    if not tars:
        raise InputError(
            f"{shown}: contains no *.tar (or .tar.gz, …); give the folder of the webdataset "
            "shards, or, for image files, use --images"
        )
    root = common_root(folders)
    chunks = [_TarChunk(root, tar, number, max_bytes) for number, tar in enumerate(tars)]
    return PackSource(
        chunks, None, {"tars": len(tars), "files_not_read": [as_utf8(name) for name in other_files]}
    )


def print_names(message: str, names: Iterable[str]) -> None:
    """Print a message and the first few names to stderr."""
    shown = [repr(name) for name in islice(names, _MAX_NAMES_SHOWN + 1)]
    ellipsis = ", …" if len(shown) > _MAX_NAMES_SHOWN else ""
    print(f"{message}: {', '.join(shown[:_MAX_NAMES_SHOWN])}{ellipsis}", file=sys.stderr)
