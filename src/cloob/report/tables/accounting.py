"""Row accounting: how many rows of each corpus were kept, and why the others were rejected."""

from collections.abc import Sequence

import pandas as pd

from cloob.common.accounting import KEPT
from cloob.report.load.inputs import Inputs
from cloob.report.load.outcomes import StageOutcomes, read_splits, source_of
from cloob.report.names import Labels
from cloob.report.registry import Entry
from cloob.report.render.document import Document, Section
from cloob.report.render.numbers import MISSING
from cloob.report.render.text import printable

TABLE = Entry(
    category="Data",
    help="how many rows of each corpus were kept, and why the others were rejected",
    caption="Row accounting: how many rows of each corpus were kept, and why the others were rejected.",
    inputs=("outcomes",),
)
_MAX_REASON = 80  # characters
_COLUMNS = ["corpus", "split", "stage", "outcome", "rows"]


def build(inputs: Inputs) -> tuple[Document, pd.DataFrame]:
    """A section per split. Raises `InputError` if the outcomes of its stages do not balance."""
    splits = list(read_splits(inputs.outcomes).values())
    rows = [
        (stage.corpus, stage.split, stage.stage, outcome, count)
        for stages in splits
        for stage in stages
        for outcome, count in ((KEPT, stage.kept), *stage.rejected.items())
    ]
    remark = "Rows of the source = images in the shards + rejected rows: checked when this table is made."
    sections = [_section(stages, inputs.labels) for stages in splits]
    return Document("Row accounting", sections, [remark]), pd.DataFrame(rows, columns=_COLUMNS)


def _section(stages: Sequence[StageOutcomes], labels: Labels) -> Section:
    total, images, source = stages[0].total, stages[-1].kept, source_of(stages)
    rows = [_row("", source.rows, total, total)]
    for stage in stages:
        rows += [
            _row(stage.stage, f"rejected: {printable(reason, _MAX_REASON)}", count, total)
            for reason, count in sorted(stage.rejected.items(), key=lambda item: (-item[1], item[0]))
            if count
        ]
    rejected = sum(sum(stage.rejected.values()) for stage in stages)
    rows += [_row("", "rejected, total", rejected, total), _row("", "images in the shards", images, total)]
    title = f"{labels.corpus(stages[0].corpus)}, {stages[0].split}"
    header = ["Stage", "Outcome", "Rows", f"Percent of the {source.name}"]
    return Section(title, "llrr", header, rows, summary_rows=2)


def _row(stage: str, outcome: str, count: int, total: int) -> list[str]:
    return [stage, outcome, str(count), f"{100 * count / total:.1f}%" if total else MISSING]
