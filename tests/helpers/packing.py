"""Short hands for packing in tests."""

from pathlib import Path
from typing import Any

from cloob.common.json_files import read_json
from cloob.shards.from_download import download_source
from cloob.shards.pack import PackOptions, pack
from cloob.shards.reader import Shards
from cloob.shards.training_image import ImagePolicy

RULES = ImagePolicy(max_bytes=10_000_000, max_pixels=1_000_000, quality=95)
PER_SHARD = 10


def pack_download(download: tuple[list[Path], Path], out: Path, **more: Any) -> Path:
    """Pack it; returns the manifest. `more`: seed, processes, validation."""
    return pack_source(download_source(*download), out, **more)


def pack_source(
    source: Any, out: Path, seed: int = 1, processes: int = 1, validation: Path | None = None
) -> Path:
    """Pack what came in, ten samples a shard."""
    pack(source, out, out / "outcomes.csv", PackOptions(PER_SHARD, seed, RULES), processes, validation)
    return out / "shards.json"


def outcomes_of(manifest: Path) -> dict[str, int]:
    """The accounting of a packed corpus."""
    return read_json(manifest)["outcomes"]


def by_caption(manifest: Path) -> dict[str, bytes]:
    """Every image by its caption."""
    shards = Shards(manifest)
    return {caption: image for image, caption, _ in (shards.sample(i) for i in range(len(shards)))}


def files_of(folder: Path) -> dict[str, bytes]:
    """Every file of a folder and its bytes."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
