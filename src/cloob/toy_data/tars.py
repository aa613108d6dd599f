"""Write image-text pairs as webdataset tars."""

import io
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cloob.toy_data.render import encode
from cloob.toy_data.scene import Scene

_PAIRS_PER_TAR = 500  # one tar per task: few enough pairs that all processes have work


@dataclass(frozen=True)
class Tar:
    """A tar to write: its path, and (key, scene, caption) of each pair."""

    path: Path
    pairs: Sequence[tuple[str, Scene, str]]


def tars_of(folder: Path, pairs: Sequence[tuple[Scene, str]]) -> list[Tar]:
    """The tars of a split; keys are the positions of the pairs."""
    keyed = [(f"{number:06d}", scene, caption) for number, (scene, caption) in enumerate(pairs)]
    starts = range(0, len(keyed), _PAIRS_PER_TAR)
    return [
        Tar(folder / f"{number:05d}.tar", keyed[start : start + _PAIRS_PER_TAR])
        for number, start in enumerate(starts)
    ]


def write_tar(tar: Tar) -> None:
    """Render the images of a tar and write it; equal pairs give equal bytes."""
    with tarfile.open(tar.path, "w") as archive:
        for key, scene, caption in tar.pairs:
            for suffix, content in (("jpg", encode(scene, "photo")), ("txt", caption.encode())):
                member = tarfile.TarInfo(f"{key}.{suffix}")
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
