"""Summary statistics of a corpus: caption lengths, image sizes, duplicates."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from cloob.common.parquet import open_parquet
from cloob.shards.digests import image_digests

_CHUNK, _ROWS_PER_BATCH = 1 << 18, 1 << 14  # values that are processed at once, and read at once

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
    from the input. `without_perceptual_hash`: images that are compared by their bytes only. One column at a
    time is in memory; 14 bytes per sample were measured (benchmarks/README.md).
    """
    with open_parquet(plan) as file:
        samples = file.metadata.num_rows
        summaries = {
            "caption_words": _summarize(_read_column(file, "words", np.int32), "caption_words"),
            "width": _summarize(_read_column(file, "width", np.int32), "width"),
            "height": _summarize(_read_column(file, "height", np.int32), "height"),
            "aspect_ratio": _summarize(_read_aspect_ratios(file), "aspect_ratio"),
            "image_kilobytes": _summarize(_read_column(file, "length", np.float64, 1000), "image_kilobytes"),
        }
        above_context = reencoded = without_hash = 0
        for _, batch in _batches(file, ["exceeds_context", "reencoded", "perceptual_hash"]):
            above_context += batch["exceeds_context"].true_count
            reencoded += batch["reencoded"].true_count
            without_hash += batch["perceptual_hash"].null_count
        duplicates = samples - _count_distinct_images(file)
    return {
        **summaries,
        "captions_above_context": above_context,
        "duplicates": duplicates,
        "reencoded": reencoded,
        "without_perceptual_hash": without_hash,
    }


def _batches(file: pq.ParquetFile, columns: list[str]) -> Iterator[tuple[slice, pa.RecordBatch]]:
    """Small batches of some columns, each with its rows."""
    start = 0
    for batch in file.iter_batches(_ROWS_PER_BATCH, columns=columns, use_threads=False):
        yield slice(start, start + len(batch)), batch
        start += len(batch)
    pa.default_memory_pool().release_unused()


def _read_column(file: pq.ParquetFile, name: str, dtype: type, divisor: int = 1) -> np.ndarray:
    values = np.empty(file.metadata.num_rows, dtype=dtype)
    for rows, batch in _batches(file, [name]):
        values[rows] = batch[name].to_numpy() if divisor == 1 else batch[name].to_numpy() / divisor
    return values


def _read_aspect_ratios(file: pq.ParquetFile) -> np.ndarray:
    """Width / height of every image."""
    ratios = np.empty(file.metadata.num_rows)
    for rows, batch in _batches(file, ["width", "height"]):
        ratios[rows] = batch["width"].to_numpy() / batch["height"].to_numpy()
    return ratios


def _summarize(values: np.ndarray, name: str) -> dict[str, Any]:
    """Summary and histogram of a column, which is overwritten."""
    edges = _BIN_EDGES[name]
    counts = np.zeros(len(edges) - 1, dtype=np.int64)
    for start in range(0, len(values), _CHUNK):
        clipped = np.clip(values[start : start + _CHUNK], edges[0], edges[-1])
        counts += np.histogram(clipped, edges)[0]
    mean = values.mean()  # before the order of the values changes
    return {
        "minimum": round(float(values.min()), 4),
        "median": round(float(np.median(values, overwrite_input=True)), 4),
        "mean": round(float(mean), 4),
        "maximum": round(float(values.max()), 4),
        "edges": edges.tolist(),
        "counts": counts.tolist(),
    }


def _count_distinct_images(file: pq.ParquetFile) -> int:
    """Distinct SHA-256, compared by 64 bits."""
    digests = np.empty(file.metadata.num_rows, dtype=np.uint64)
    for rows, batch in _batches(file, ["sha256"]):
        digests[rows] = image_digests(batch["sha256"])
    digests.sort()
    chunks = (digests[start : start + _CHUNK + 1] for start in range(0, len(digests), _CHUNK))
    return 1 + sum(int((chunk[1:] != chunk[:-1]).sum()) for chunk in chunks)
