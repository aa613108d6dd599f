"""Summary statistics of a corpus: caption lengths, image sizes, duplicates."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

# Histogram bin edges; values outside are counted in the first or last bin.
_BIN_EDGES = {
    "caption_words": np.arange(0, 65, 2).astype(float),
    "width": np.arange(0, 1025, 32).astype(float),
    "height": np.arange(0, 1025, 32).astype(float),
    "aspect_ratio": np.round(2 ** np.linspace(-2, 2, 33), 4),
    "image_kilobytes": np.round(2 ** np.linspace(0, 10, 41), 4),
}


def corpus_statistics(plan: Path) -> dict[str, Any]:
    """Minimum, median, mean, maximum and histogram of caption words, pixels, width / height and kilobytes.

    `captions_above_context`: captions that CLIP's tokenizer truncates (`caption_tokens.exceeds_context`).
    `duplicates`: images in excess of the first with the same bytes. `reencoded`: images whose bytes differ
    from the input. `without_perceptual_hash`: images that are compared by their bytes only. Needs about 30
    bytes of memory per sample.
    """
    table = pq.read_table(
        plan, columns=["words", "exceeds_context", "width", "height", "length", "reencoded"]
    )
    width, height = table["width"].to_numpy(), table["height"].to_numpy()
    columns = {
        "caption_words": table["words"].to_numpy(),
        "width": width,
        "height": height,
        "aspect_ratio": width / height,
        "image_kilobytes": table["length"].to_numpy() / 1000,
    }
    return {
        **{name: _summarize(values, _BIN_EDGES[name]) for name, values in columns.items()},
        "captions_above_context": int(table["exceeds_context"].to_numpy().sum()),
        "duplicates": table.num_rows - _count_distinct_images(plan),
        "reencoded": int(table["reencoded"].to_numpy().sum()),
        "without_perceptual_hash": sum(
            batch["perceptual_hash"].null_count
            for batch in pq.ParquetFile(plan).iter_batches(columns=["perceptual_hash"])
        ),
    }


def _summarize(values: np.ndarray, edges: np.ndarray) -> dict[str, Any]:
    counts, _ = np.histogram(np.clip(values, edges[0], edges[-1]), edges)
    return {
        "minimum": round(float(values.min()), 4),
        "median": round(float(np.median(values)), 4),
        "mean": round(float(values.mean()), 4),
        "maximum": round(float(values.max()), 4),
        "edges": edges.tolist(),
        "counts": counts.tolist(),
    }


def _count_distinct_images(plan: Path) -> int:
    """Distinct SHA-256, compared by 64 bits: the odds of a collision among 15 million are 1 : 160,000."""
    digests = [
        np.array([int(digest[:16], 16) for digest in batch["sha256"].to_pylist()], dtype=np.uint64)
        for batch in pq.ParquetFile(plan).iter_batches(columns=["sha256"])
    ]
    return len(np.unique(np.concatenate(digests)))
