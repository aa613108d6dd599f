"""The accounting: every row of every list is an image in the shards, or was refused at a stage for a reason."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pandas as pd

from cloob.common.errors import InputError, raise_if_io_error
from cloob.report.names import CORPORA, label
from cloob.report.render.table import MISSING, Document, Section, as_markdown, write_document
from cloob.report.render.text import printable
from cloob.report.sources import write_sources

KEPT = "kept"
_REASON = 80  # characters of a reason, at most
COLUMNS = ["corpus", "split", "stage", "outcome", "rows"]


@dataclass(frozen=True)
class Page:
    """The outcomes of one stage of one split: what came in is what was kept and what was refused."""

    corpus: str
    split: str
    stage: str
    path: Path
    kept: int
    refused: dict[str, int]  # reason -> rows

    @property
    def total(self) -> int:
        """The rows that came in."""
        return self.kept + sum(self.refused.values())


def report_books(outcomes: Sequence[tuple[str, Path]], csv: Path, mark: str) -> str:
    """Check that the pages of each split follow from one another, and write them all as .csv, .md and .tex.

    `outcomes` are `corpus/split/stage` names with their files, the stages of a split in their order.
    Returns the table as it is to be printed. Raises `InputError` where the accounting do not balance.
    """
    splits: dict[tuple[str, str], list[Page]] = {}
    for name, path in outcomes:
        page = read_page(name, path)
        splits.setdefault((page.corpus, page.split), []).append(page)
    for pages in splits.values():
        check_chain(pages)
    rows = [
        (page.corpus, page.split, page.stage, outcome, count)
        for pages in splits.values()
        for page in pages
        for outcome, count in ((KEPT, page.kept), *page.refused.items())
    ]
    document = accounting_document(list(splits.values()))
    written = write_document(document, pd.DataFrame(rows, columns=COLUMNS), mark, csv)
    write_sources(written, [path for _, path in outcomes], packages=["pandas"])
    return as_markdown(document, mark)


def read_page(name: str, path: Path) -> Page:
    """Read one file of outcomes (columns outcome,rows; `kept` first). Raises `InputError`."""
    parts = name.split("/")
    if len(parts) != 3 or not all(parts):
        raise InputError(f"--outcomes {name}={path}: the name is not of the form corpus/split/stage")
    try:
        table = pd.read_csv(path, dtype={"outcome": str}, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise_if_io_error(error, path)
        reason = " ".join(str(error).split())
        raise InputError(
            f"{path}: not a readable table of outcomes ({reason}); delete it and run again"
        ) from None
    # A missing, torn or foreign file must not pass for an empty one.
    if list(table.columns) != ["outcome", "rows"] or table.empty or table.outcome[0] != KEPT:
        raise InputError(
            f"{path}: not a table of outcomes (columns outcome,rows, first `{KEPT}`); delete it and run again"
        )
    if table.outcome.duplicated().any():
        raise InputError(
            f"{path}: the outcome {table.outcome[table.outcome.duplicated()].iloc[0]!r} stands twice; run again"
        )
    if not pd.api.types.is_integer_dtype(table.rows) or (table.rows < 0).any():
        raise InputError(f"{path}: `rows` holds what is not a number from 0; delete it and run again")
    counts = dict(zip(table.outcome, map(int, table.rows), strict=True))
    corpus, split, stage = parts
    return Page(corpus, split, stage, path, counts.pop(KEPT), counts)


def check_chain(pages: Sequence[Page]) -> None:
    """What one stage kept is what the next one got. Raises `InputError` naming both files."""
    names = [page.stage for page in pages]
    if len(set(names)) != len(names):
        raise InputError(f"--outcomes: a stage of {pages[0].corpus}/{pages[0].split} is given twice")
    for before, after in pairwise(pages):
        if before.kept != after.total:
            raise InputError(
                f"{after.path}: the accounting do not balance: {after.total} rows came in where {before.path} "
                f"says that {before.kept} were kept; delete the outputs of {after.stage} and run it again"
            )


def accounting_document(splits: Sequence[Sequence[Page]]) -> Document:
    """One section per split, from the rows of the list to the images in the shards."""
    sections = []
    for pages in splits:
        listed, images = pages[0].total, pages[-1].kept
        rows = [_row("", "rows in the list", listed, listed)]
        for page in pages:
            rows += [
                _row(page.stage, f"refused: {printable(reason, _REASON)}", count, listed)
                for reason, count in sorted(page.refused.items(), key=lambda item: (-item[1], item[0]))
                if count
            ]
        refused = sum(sum(page.refused.values()) for page in pages)
        rows += [
            _row("", "refused in all", refused, listed),
            _row("", "images in the shards", images, listed),
        ]
        title = f"{label(pages[0].corpus, CORPORA)}, {pages[0].split}"
        head = ["Stage", "Outcome", "Rows", "Share of the list"]
        sections.append(Section(title, "llrr", head, rows, summary_rows=2))
    return Document(
        "Where every row of the lists went",
        sections,
        ["Rows in the list = images in the shards + rows refused: checked when this table is made."],
    )


def _row(stage: str, outcome: str, count: int, of: int) -> list[str]:
    return [stage, outcome, str(count), f"{100 * count / of:.1f} %" if of else MISSING]
