"""Shortcuts for packing shards in tests."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cloob.common.json_files import read_json
from cloob.shards.from_download import download_source
from cloob.shards.pack import PackOptions, pack
from cloob.shards.reader import Shards
from cloob.shards.source import PackSource
from cloob.shards.training_image import ImagePolicy

POLICY = ImagePolicy(max_bytes=10_000_000, max_pixels=1_000_000, quality=95)
SAMPLES_PER_SHARD = 10


def pack_download(download: tuple[list[Path], Path], out: Path, **options: Any) -> Path:
    """Pack a download (ledgers, URL list) and return the manifest. `options`: seed, processes, validation."""
    return pack_source(download_source(*download), out, **options)


def pack_source(
    source: PackSource,
    out: Path,
    seed: int = 1,
    processes: int = 1,
    validation: Path | Sequence[Path] = (),
    policy: ImagePolicy = POLICY,
) -> Path:
    """Pack a source with ten samples per shard and return the manifest."""
    options = PackOptions(SAMPLES_PER_SHARD, seed, policy)
    pack(
        source,
        out,
        out / "outcomes.csv",
        options,
        processes,
        [validation] if isinstance(validation, Path) else validation,
    )
    return out / "shards.json"


def manifest_outcomes(manifest: Path) -> dict[str, int]:
    """The number of images by outcome in the manifest of a packed corpus."""
    return read_json(manifest)["outcomes"]


def images_by_caption(manifest: Path) -> dict[str, bytes]:
    """The image bytes of every sample, by caption."""
    shards = Shards(manifest)
    return {caption: image for image, caption in (shards.sample(i) for i in range(len(shards)))}


def file_contents(folder: Path) -> dict[str, bytes]:
    """The bytes of every file in a folder and its subfolders, by relative path."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
