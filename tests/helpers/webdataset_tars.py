"""Write webdataset tars with arbitrary members."""

import io
import tarfile
from pathlib import Path

from tests.helpers.sample_images import jpeg

Member = tuple[str | tarfile.TarInfo, bytes]


def tar_bytes(members: list[Member]) -> bytes:
    """The bytes of a tar with these members, in this order."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        for name, data in members:
            member = tarfile.TarInfo(name) if isinstance(name, str) else name
            member.size = len(data) if member.isreg() else 0
            archive.addfile(member, io.BytesIO(data))
    return content.getvalue()


def write_tar(tar: Path, members: list[Member]) -> Path:
    """Write a tar with these members; return its directory."""
    tar.parent.mkdir(parents=True, exist_ok=True)
    tar.write_bytes(tar_bytes(members))
    return tar.parent


def image_and_caption(key: str, seed: int, caption: str | None = None) -> list[Member]:
    """The members of a sample: a JPEG and its caption (default: the key)."""
    return [(f"{key}.jpg", jpeg(seed)), (f"{key}.txt", (caption or key).encode())]


def special_member(name: str, kind: bytes, target: str = "a.jpg") -> tarfile.TarInfo:
    """A member that is a link, a directory, a device or the like."""
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return member
