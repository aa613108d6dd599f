"""Which test images are in a training corpus? Near-duplicates by perceptual hash, listed image by image."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from platform import python_version
from typing import Any

import numpy as np
import PIL
import torch
from tqdm import tqdm

from cloob.evaluate.features.cache import cached
from cloob.evaluate.protocols.overlap_search import Near, compare
from cloob.evaluate.protocols.result import is_there, write_result
from cloob.evaluate.testsets.image_folder import LabeledFolder, load_image
from cloob.evaluate.testsets.spec import Description
from cloob.images.near_duplicates import HASH_BYTES, hashes_to_array, perceptual_hash
from cloob.shards.manifest import read_manifest

# Of the hash: another way to compute it makes all hashes anew.
_HASH = "pHash of 256 bits, 1"


def evaluate_overlap(
    corpus: str,
    manifest: Path,
    testsets: Sequence[tuple[Description, Path]],
    cache: Path,
    distance: int,
    processes: int,
    out_dir: Path,
) -> None:
    """Compare each test image with each image of packed shards; write `out_dir`/<dataset>.json for each set.

    A test image overlaps where its perceptual hash and that of a training image differ in at most `distance`
    bits. A file that is there of the same shards, data and distance is left as it is. Raises `InputError`.
    """
    folders = [LabeledFolder(description, folder) for description, folder in testsets]
    shards = read_manifest(manifest)
    results, hashes = {}, {}
    for folder in folders:
        about = _about(corpus, shards, folder, distance, cache)
        path = out_dir / f"{folder.description.name}.json"
        if not is_there(path, about):
            results[path] = (folder, about)
            hashes[path] = _hashes(folder, about["dataset_sha256"], cache, processes)
    if not results:
        return
    words = np.concatenate([hashes_to_array([each for each in one if each]) for one in hashes.values()])
    near, compared = compare(manifest, shards, words, distance, processes)
    start = 0
    for path, (folder, about) in results.items():
        names = [name for name, each in zip(folder.names, hashes[path], strict=True) if each]
        found = [_match(name, near[row]) for row, name in enumerate(names, start) if row in near]
        start += len(names)
        measured = {
            "compared": len(names),
            "training_compared": compared,
            "overlapping": len(found),
            "share": len(found) / len(folder),
            "matches": found,
        }
        write_result(path, about, measured)


def _about(
    corpus: str, shards: dict[str, Any], folder: LabeledFolder, distance: int, cache: Path
) -> dict[str, Any]:
    return {
        "protocol": "overlap",
        "corpus": corpus,
        "dataset": folder.description.name,
        "title": folder.description.title,
        "images": len(folder),
        "training_images": shards["samples"],
        "distance": distance,
        "hash": _HASH,
        "dataset_sha256": folder.content_sha256(cache),
        "shards_sha256": shards["sha256"],
        "versions": {"python": python_version(), "numpy": np.__version__, "pillow": PIL.__version__},
    }


def _hashes(folder: LabeledFolder, dataset_sha256: str, cache: Path, threads: int) -> list[bytes | None]:
    """The perceptual hash of every image of a test set, from the cache where it was computed before."""
    name = folder.description.name

    def make() -> dict[str, torch.Tensor]:
        with ThreadPoolExecutor(threads) as pool:
            # Decoding and resizing let other threads run.
            found = pool.map(lambda sample: perceptual_hash(load_image(sample[0])), folder.samples)
            hashes = list(tqdm(found, f"hashing {name}", len(folder), mininterval=1, unit=" images"))
        packed = b"".join(each or bytes(HASH_BYTES) for each in hashes)
        return {
            "hash": torch.frombuffer(bytearray(packed), dtype=torch.uint8).view(-1, HASH_BYTES),
            "has_hash": torch.tensor([each is not None for each in hashes]),
        }

    key = {"hash": _HASH, "dataset_sha256": dataset_sha256}
    kept = cached(cache, f"perceptual_hash_{name}", key, make)
    return [
        row.tobytes() if has else None
        for row, has in zip(kept["hash"].numpy(), kept["has_hash"].tolist(), strict=True)
    ]


def _match(name: str, near: Near) -> dict[str, Any]:
    count, nearest = near
    listed = [{"key": key, "distance": bits} for bits, key in nearest]
    return {"image": name, "training_images": count, "nearest": listed}
