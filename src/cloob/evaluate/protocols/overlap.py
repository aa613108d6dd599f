"""Overlap of test sets with a training corpus: near-duplicates by perceptual hash, listed image by image."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from platform import python_version
from typing import Any

import numpy as np
import PIL
import torch
from tqdm import tqdm

from cloob.common.bit_strings import pack_bits
from cloob.evaluate.features.cache import cached
from cloob.evaluate.protocols.overlap_search import search_shards
from cloob.evaluate.protocols.result import is_up_to_date, write_result
from cloob.evaluate.testsets.image_folder import LabeledFolder, load_image
from cloob.evaluate.testsets.spec import TestSetSpec
from cloob.images.near_duplicates import HASH_BYTES, HASH_VERSION, hashes_to_array, perceptual_hash
from cloob.shards.manifest import read_manifest


def evaluate_overlap(
    corpus: str,
    manifest: Path,
    testsets: Sequence[tuple[TestSetSpec, Path]],
    cache: Path,
    distance: int,
    processes: int,
    out_dir: Path,
) -> None:
    """Compare every test image with every image of the packed shards; write `out_dir`/<dataset>.json.

    A test image overlaps if its perceptual hash and that of a training image differ in at most `distance`
    bits. `overlapping_images` is a bit per image in the order of the sorted paths, by `pack_bits`. Result
    files that are up to date are not recomputed. Raises `InputError`.
    """
    shards = read_manifest(manifest)
    pending: dict[Path, tuple[LabeledFolder, dict[str, Any]]] = {}
    hashes: dict[Path, list[bytes | None]] = {}
    for folder in [LabeledFolder(spec, folder) for spec, folder in testsets]:
        metadata = _metadata(corpus, shards, folder, distance, cache)
        path = out_dir / f"{folder.spec.name}.json"
        if not is_up_to_date(path, metadata, ["overlapping_images"]):
            pending[path] = (folder, metadata)
            hashes[path] = _hashes(folder, metadata["dataset_sha256"], cache, processes)
    if not pending:
        return
    words = np.concatenate(
        [hashes_to_array([value for value in values if value]) for values in hashes.values()]
    )
    found = search_shards(manifest, shards, words, distance, processes)
    offset = 0  # of the test set's first hash in `words`
    for path, (folder, metadata) in pending.items():
        names = folder.names
        with_hash = [index for index, value in enumerate(hashes[path]) if value]
        counts = np.zeros(len(folder), np.int64)
        counts[with_hash] = found.counts[offset : offset + len(with_hash)]
        matches = [
            {
                "image": names[index],
                "training_images": int(counts[index]),
                "nearest": [{"key": key, "distance": bits} for bits, key in found.nearest[row]],
            }
            for row, index in enumerate(with_hash, offset)
            if row in found.nearest
        ]
        offset += len(with_hash)
        measured = {
            "compared": len(with_hash),
            "training_compared": found.compared,
            "overlapping": len(matches),
            "share": len(matches) / len(folder),
            "overlapping_images": pack_bits(counts > 0),
            "matches": matches,
        }
        write_result(path, metadata, measured)


def _metadata(
    corpus: str, shards: dict[str, Any], folder: LabeledFolder, distance: int, cache: Path
) -> dict[str, Any]:
    return {
        "protocol": "overlap",
        "corpus": corpus,
        "dataset": folder.spec.name,
        "title": folder.spec.title,
        "images": len(folder),
        "training_images": shards["samples"],
        "distance": distance,
        "hash": HASH_VERSION,
        "dataset_sha256": folder.content_sha256(cache),
        "shards_sha256": shards["sha256"],
        "versions": {"python": python_version(), "numpy": np.__version__, "pillow": PIL.__version__},
    }


def _hashes(folder: LabeledFolder, dataset_sha256: str, cache: Path, threads: int) -> list[bytes | None]:
    """The perceptual hash of every image of a test set (None if it has none), cached."""
    name = folder.spec.name

    def compute() -> dict[str, torch.Tensor]:
        with ThreadPoolExecutor(threads) as pool:  # decoding and resizing release the GIL
            hashed = pool.map(lambda sample: perceptual_hash(load_image(sample[0])), folder.samples)
            values = list(tqdm(hashed, f"hashing {name}", len(folder), mininterval=1, unit=" images"))
        folder.check_unchanged(cache)
        packed = b"".join(value or bytes(HASH_BYTES) for value in values)
        return {
            "hash": torch.frombuffer(bytearray(packed), dtype=torch.uint8).view(-1, HASH_BYTES),
            "has_hash": torch.tensor([value is not None for value in values]),
        }

    key = {"hash": HASH_VERSION, "dataset_sha256": dataset_sha256}
    tensors = cached(cache, f"perceptual_hash_{name}", key, compute)
    return [
        row.tobytes() if has_hash else None
        for row, has_hash in zip(tensors["hash"].numpy(), tensors["has_hash"].tolist(), strict=True)
    ]
