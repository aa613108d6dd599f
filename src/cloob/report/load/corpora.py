"""Statistics of the packed corpora: shard manifests combined with row accounting."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from cloob.common.errors import InputError
from cloob.report.load.inputs import Inputs
from cloob.report.load.json_checks import ANYTHING, NUMBER, read_json, type_error
from cloob.report.load.outcomes import StageOutcomes, read_splits, source_of
from cloob.report.load.paper import paper_corpus_size

PAIRS, PAPER_PAIRS = "pairs", "pairs in the paper"
PAPER_SHARE = "pairs in the paper (% of the URL list)"
# Stage -> name of the number of rows that it rejected.
REJECTED = {
    "urls": "rejected in the URL list",
    "images": "rejected in the download",
    "shards": "rejected in packing",
}
# Statistic of the manifest -> name with unit.
MEASURES = {
    "width": "image width (pixels)",
    "height": "image height (pixels)",
    "aspect_ratio": "width / height",
    "image_kilobytes": "image file (KB)",
    "caption_words": "words per caption",
}
TRUNCATED = "captions truncated by the tokenizer"
COLUMNS = ["corpus", "split", "quantity", "value"]
_SUMMARIES = ("median", "mean", "minimum", "maximum")
_COUNTS = ("captions_above_context", "duplicates", "reencoded", "without_perceptual_hash")
_MANIFEST = {
    "samples": (int,),
    "bytes": (int,),
    "statistics": {
        **{
            measure: {"edges": [NUMBER], "counts": [(int,)], "*": ANYTHING}
            | dict.fromkeys(_SUMMARIES, NUMBER)
            for measure in MEASURES
        },
        **dict.fromkeys(_COUNTS, (int,)),
        "*": ANYTHING,
    },
    "*": ANYTHING,
}


def corpus_statistics(inputs: Inputs) -> pd.DataFrame:
    """Long table with columns `COLUMNS`, the quantities of each split in their order.

    Raises `InputError` if the outcomes do not balance or do not belong to the shards. Results with a title
    suffix (the toy dataset) are not compared with the paper.
    """
    splits = read_splits(inputs.outcomes)
    rows = []
    for split, path in inputs.manifests:
        if not (stages := splits.get(split)):
            raise InputError(f"--outcomes: no outcomes of {'/'.join(split)}, but its manifest is given")
        paper = None if inputs.labels.title_suffix else paper_corpus_size(*split)
        quantities = _quantities(read_manifest(path), stages, path, paper)
        rows += [(*split, quantity, value) for quantity, value in quantities.items()]
    return pd.DataFrame(rows, columns=COLUMNS)


def read_manifest(path: Path) -> dict[str, Any]:
    """A shards.json with its statistics. Raises `InputError`."""
    manifest = read_json(path, "no such manifest; pack the shards", "pack the shards again")
    problem = type_error(manifest, _MANIFEST)
    for measure in MEASURES if problem is None else ():
        histogram = manifest["statistics"][measure]
        counts, edges = len(histogram["counts"]), len(histogram["edges"])
        if edges != counts + 1:
            problem = f"statistics.{measure} has {counts} counts for {edges} edges"
    if problem is not None:
        raise InputError(f"{path}: not a manifest with statistics ({problem}); pack the shards again")
    return manifest


def _quantities(
    manifest: dict[str, Any], stages: Sequence[StageOutcomes], path: Path, paper: tuple[int, int] | None
) -> dict[str, float | int]:
    rows, pairs, statistics = stages[0].total, stages[-1].kept, manifest["statistics"]
    if manifest["samples"] != pairs:
        raise InputError(
            f"{path}: {manifest['samples']} samples, but {stages[-1].path} has {pairs} kept rows; pack the "
            "shards again"
        )
    source = source_of(stages)
    quantities: dict[str, float | int] = {source.rows: rows}
    for stage in stages:
        quantities[REJECTED.get(stage.stage, stage.stage)] = stage.total - stage.kept
    rejected = stages[-1].rejected
    packing = REJECTED["shards"]
    quantities[f"{packing}: images of the validation split"] = rejected.get("in_validation", 0)
    near_duplicates = rejected.get("near_duplicate_of_validation", 0)
    quantities[f"{packing}: near-duplicates of validation images"] = near_duplicates
    percent = round(100 * pairs / rows, 2) if rows else 0
    quantities |= {PAIRS: pairs, f"pairs (% of the {source.name})": percent}
    if paper:
        quantities |= {PAPER_PAIRS: paper[1], PAPER_SHARE: round(100 * paper[1] / paper[0], 2)}
    quantities |= {
        "duplicate images": statistics["duplicates"],
        "re-encoded images": statistics["reencoded"],
        "images without a perceptual hash": statistics["without_perceptual_hash"],
        "gigabytes": round(manifest["bytes"] / 1e9, 3),
    }
    for measure, name in MEASURES.items():
        for summary in _SUMMARIES:
            quantities[f"{name}, {summary}"] = round(statistics[measure][summary], 2)
    truncated = statistics["captions_above_context"]
    quantities[TRUNCATED] = truncated
    quantities[f"{TRUNCATED} (% of the pairs)"] = round(100 * truncated / pairs, 3) if pairs else 0
    return quantities
