"""The corpora in numbers: what became of each list, against the paper's, and what the pairs are like."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from cloob.common.errors import InputError
from cloob.report.load.form import ANYTHING, NUMBER, read_file, wrong
from cloob.report.names import CORPORA, label
from cloob.report.render.table import MISSING, Document, Section, as_markdown, write_document
from cloob.report.sources import write_sources
from cloob.report.tables.accounting import Page, check_chain, read_page

Split = tuple[str, str]  # corpus, split
# Rows of the lists, and the pairs that the authors had of them: what was online for CC; OpenAI's subset.
PAPER: dict[Split, tuple[int, int]] = {
    ("cc3m", "train"): (3_318_333, 2_890_000),
    ("cc3m", "validation"): (15_840, 13_000),
    ("yfcc15m", "train"): (14_829_396, 14_800_000),
}
# Stages of the accounting, and how their losses are called.
LOSSES = {"urls": "refused in the list", "images": "refused in the download", "shards": "refused in packing"}
MEASURES = {
    "width": "image width (pixels)",
    "height": "image height (pixels)",
    "aspect_ratio": "width / height",
    "image_kilobytes": "image file (KB)",
    "caption_words": "words per caption",
}
_COUNTS = {"duplicates", "reencoded", "without_perceptual_hash"}
COLUMNS = ["corpus", "split", "quantity", "value"]
_WHICH = ("median", "mean", "minimum", "maximum")
_MANIFEST = {
    "samples": (int,),
    "bytes": (int,),
    "statistics": {
        **{
            measure: {"edges": [NUMBER], "counts": [(int,)], "*": ANYTHING} | dict.fromkeys(_WHICH, NUMBER)
            for measure in MEASURES
        },
        **dict.fromkeys(_COUNTS, (int,)),
        "*": ANYTHING,
    },
    "*": ANYTHING,
}
PAPERS_SHARE = "paper's share of its list (%)"


def report_corpora(
    manifests: Sequence[tuple[Split, Path]],
    outcomes: Sequence[tuple[str, Path]],
    csv: Path,
    mark: str,
) -> str:
    """Write the corpora in numbers as .csv, .md and .tex; return the table as it is to be printed.

    `manifests` are the shards.json of each split, `outcomes` the accounting of its stages (`corpus/split/stage`) in
    their order. Raises `InputError` where the accounting do not balance or are not of these shards.
    """
    table = corpora_table(manifests, outcomes, mark)
    document = corpora_document(table)
    written = write_document(document, table, mark, csv)
    write_sources(written, [path for _, path in [*manifests, *outcomes]], packages=["pandas"])
    return as_markdown(document, mark)


def corpora_table(
    manifests: Sequence[tuple[Split, Path]], outcomes: Sequence[tuple[str, Path]], mark: str
) -> pd.DataFrame:
    """Long table of `COLUMNS`, the quantities of a split in their order.

    Numbers of a small world (they carry a `mark`) stand beside nothing published.
    """
    accounting: dict[Split, list[Page]] = {}
    for name, path in outcomes:
        page = read_page(name, path)
        accounting.setdefault((page.corpus, page.split), []).append(page)
    rows = []
    for split, path in manifests:
        pages = accounting.get(split)
        if not pages:
            raise InputError(f"--outcomes: no accounting of {'/'.join(split)}, whose shards are given")
        check_chain(pages)
        found = _quantities(read_manifest(path), pages, path, None if mark else PAPER.get(split))
        rows += [(*split, quantity, value) for quantity, value in found.items()]
    return pd.DataFrame(rows, columns=COLUMNS)


def read_manifest(path: Path) -> dict[str, Any]:
    """A shards.json with its statistics. Raises `InputError` where it has none."""
    manifest = read_file(path, "no such manifest; pack the shards", "pack the shards again")
    found = wrong(manifest, _MANIFEST)
    for measure in MEASURES if found is None else ():
        of = manifest["statistics"][measure]
        if len(of["edges"]) != len(of["counts"]) + 1:
            found = f"statistics.{measure} has {len(of['counts'])} counts between {len(of['edges'])} edges"
    if found is not None:
        raise InputError(f"{path}: no manifest with statistics ({found}); pack the shards again")
    return manifest


def _quantities(
    manifest: dict[str, Any], pages: Sequence[Page], path: Path, paper: tuple[int, int] | None
) -> dict[str, float | int]:
    rows, pairs, statistics = pages[0].total, pages[-1].kept, manifest["statistics"]
    if manifest["samples"] != pairs:
        raise InputError(
            f"{path}: {manifest['samples']} samples, but {pages[-1].path} says {pairs}; pack the shards again"
        )
    found: dict[str, float | int] = {"rows of the list": rows}
    for page in pages:
        found[LOSSES.get(page.stage, page.stage)] = page.total - page.kept
    refused = pages[-1].refused
    found["of these, images of the validation split"] = refused.get("in_validation", 0)
    found["of these, near-duplicates of its images"] = refused.get("near_duplicate_of_validation", 0)
    found |= {"pairs": pairs, "share of the list (%)": round(100 * pairs / rows, 2) if rows else 0}
    if paper:
        found |= {
            "pairs in the paper": paper[1],
            PAPERS_SHARE: round(100 * paper[1] / paper[0], 2),
        }
    found |= {
        "images that occur again": statistics["duplicates"],
        "images encoded again": statistics["reencoded"],
        "images without a perceptual hash": statistics["without_perceptual_hash"],
        "gigabytes": round(manifest["bytes"] / 1e9, 3),
    }
    for measure, words in MEASURES.items():
        for which in _WHICH:
            found[f"{words}, {which}"] = round(statistics[measure][which], 2)
    return found


def corpora_document(table: pd.DataFrame) -> Document:
    """A column per split, a row per quantity; what a split has not is a dash."""
    splits = list(dict.fromkeys(zip(table.corpus, table.split, strict=True)))
    values = {(row.corpus, row.split, row.quantity): row.value for row in table.itertuples()}
    head = ["", *(f"{label(corpus, CORPORA)}, {split}" for corpus, split in splits)]
    rows = [
        [quantity, *(_cell(values.get((*split, quantity))) for split in splits)]
        for quantity in dict.fromkeys(table.quantity)
    ]
    return Document("The corpora", [Section("", "l" + "r" * len(splits), head, rows)])


def _cell(value: float | None) -> str:
    return MISSING if value is None else f"{value:,.10g}"
