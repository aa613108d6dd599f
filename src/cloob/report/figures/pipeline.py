"""The stages and rules of the pipeline as a diagram, generated from the Snakefile and the rule files."""

import re
import textwrap

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from cloob.common.errors import InputError, raise_if_io_error
from cloob.report.load.inputs import Inputs
from cloob.report.names import Labels
from cloob.report.registry import Entry
from cloob.report.render.style import FAINT, INK, add_title, new_figure

FIGURE = Entry(
    category="Pipeline",
    help="the stages of the pipeline and their rules",
    caption="The stages of the pipeline with their rules and the data that flow between them, generated from "
    "the workflow itself.",
    inputs=("workflow_sources",),
)
# "#     shards    downloads  ->  verified webdataset shards with an index"
_STAGE = re.compile(r"^# +(\w+) +(\S.*?) +-> +(\S.*)$", flags=re.MULTILINE)
_RULE = re.compile(r"^ *(?:use rule \w+ as|rule) (\w+)\b", flags=re.MULTILINE)


def read(inputs: Inputs) -> pd.DataFrame:
    """A row per rule: stage, inputs, outputs, rule. A comment in the Snakefile lists the stages."""
    texts = {}
    for path in inputs.sources:
        try:
            texts[path.name] = path.read_text(encoding="utf-8")
        except OSError as error:
            raise_if_io_error(error, path)
            raise InputError(f"{path}: cannot be read ({error})") from None
    stages = _STAGE.findall(texts.get("Snakefile", ""))
    if not stages:
        raise InputError("--sources: no Snakefile that lists the stages as `# NAME  inputs -> outputs`")
    rows = []
    for stage, stage_inputs, stage_outputs in stages:
        if f"{stage}.smk" not in texts:
            raise InputError(f"--sources: no {stage}.smk, but the Snakefile lists the stage {stage}")
        rules = _RULE.findall(texts[f"{stage}.smk"])
        rows += [[stage, stage_inputs, stage_outputs, rule] for rule in rules]
    return pd.DataFrame(rows, columns=["stage", "inputs", "outputs", "rule"])


def draw(data: pd.DataFrame, labels: Labels) -> Figure:
    """A box per stage from top to bottom, with its rules; arrows are labeled with the data."""
    stages = list(data.groupby("stage", sort=False))
    wrapped = [textwrap.wrap("   ".join(part.rule), 78, break_on_hyphens=False) for _, part in stages]
    figure = new_figure(height=1.0 + sum(0.62 + 0.13 * len(lines) for lines in wrapped))
    axis = figure.subplots()
    axis.set_axis_off()
    y = 0.0
    _draw_arrow(axis, stages[0][1].inputs.iloc[0], y)
    for (stage, part), lines in zip(stages, wrapped, strict=True):
        height = 0.22 + 0.13 * len(lines)
        y += 0.3
        box = FancyBboxPatch(
            (0, y), 6.6, height, boxstyle="round,pad=0,rounding_size=0.06", fc="0.95", ec=FAINT, lw=0.7
        )
        axis.add_patch(box)
        middle = y + height / 2
        axis.text(0.15, middle, stage, fontsize=10, fontweight="bold", va="center", color=INK)
        axis.text(1.35, middle, "\n".join(lines), fontsize=7, va="center", family="DejaVu Sans Mono")
        y += height
        _draw_arrow(axis, part.outputs.iloc[0], y)
    axis.set(xlim=(-0.05, 6.65), ylim=(y + 0.32, -0.05))
    add_title(figure, "The stages of the pipeline and their rules", labels, [])
    return figure


def _draw_arrow(axis: Axes, label: str, y: float) -> None:
    """A labeled arrow from `y` downwards."""
    arrow = {"arrowstyle": "-|>,head_width=0.18,head_length=0.3", "color": INK, "lw": 0.9}
    axis.annotate("", (0.55, y + 0.29), (0.55, y + 0.02), arrowprops=arrow | {"shrinkA": 0, "shrinkB": 0})
    axis.text(0.75, y + 0.15, label, fontsize=7.5, va="center", style="italic", color=INK)
