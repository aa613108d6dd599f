"""A corpus in a few numbers: how long its captions are, how large its images, how many come twice."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

# Edges of the histograms; what lies outside is counted in the first or the last bin.
_EDGES = {
    "caption_words": np.arange(0, 65, 2).astype(float),
    "width": np.arange(0, 1025, 32).astype(float),
    "height": np.arange(0, 1025, 32).astype(float),
    "aspect_ratio": np.round(2 ** np.linspace(-2, 2, 33), 4),
    "image_kilobytes": np.round(2 ** np.linspace(0, 10, 41), 4),
}


def statistics_of(plan: Path) -> dict[str, Any]:
    """Minimum, median, mean, maximum and a histogram of words, pixels, width / height and kilobytes.

    `duplicates`: images that some other sample has as well, beyond its first. `reencoded`: images whose bytes
    are not those that came. `without_perceptual_hash`: images that are compared by their bytes only. Needs
    some 30 bytes a sample.
    """
    table = pq.read_table(plan, columns=["words", "width", "height", "length", "reencoded"])
    width, height = table["width"].to_numpy(), table["height"].to_numpy()
    columns = {
        "caption_words": table["words"].to_numpy(),
        "width": width,
        "height": height,
        "aspect_ratio": width / height,
        "image_kilobytes": table["length"].to_numpy() / 1000,
    }
    return {
        **{name: _described(values, _EDGES[name]) for name, values in columns.items()},
        "duplicates": table.num_rows - _distinct(plan),
        "reencoded": int(table["reencoded"].to_numpy().sum()),
        "without_perceptual_hash": sum(
            batch["perceptual_hash"].null_count
            for batch in pq.ParquetFile(plan).iter_batches(columns=["perceptual_hash"])
        ),
    }


def _described(values: np.ndarray, edges: np.ndarray) -> dict[str, Any]:
    counts, _ = np.histogram(np.clip(values, edges[0], edges[-1]), edges)
    return {
        "minimum": round(float(values.min()), 4),
        "median": round(float(np.median(values)), 4),
        "mean": round(float(values.mean()), 4),
        "maximum": round(float(values.max()), 4),
        "edges": edges.tolist(),
        "counts": counts.tolist(),
    }


def _distinct(plan: Path) -> int:
    """Distinct images, by 64 bits of their hashes: two of 15 million share them with odds of 1 : 160 000."""
    file = pq.ParquetFile(plan)
    found = [
        np.array([int(digest[:16], 16) for digest in batch["sha256"].to_pylist()], dtype=np.uint64)
        for batch in file.iter_batches(columns=["sha256"])
    ]
    return len(np.unique(np.concatenate(found)))
