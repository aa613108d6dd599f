"""Training throughput: pairs per second and process, and the time spent waiting for data."""

import pandas as pd
from matplotlib.figure import Figure

from cloob.report.load.inputs import Inputs
from cloob.report.load.logs import check_logs_given, read_timed_log
from cloob.report.load.result_files import RUN_KEYS
from cloob.report.names import Labels
from cloob.report.registry import Entry
from cloob.report.render.bars import bar_legend, draw_bars
from cloob.report.render.panels import objectives_of, panels
from cloob.report.render.style import add_title, legend_handles, new_figure
from cloob.report.stats.intervals import PERCENT
from cloob.report.stats.throughput import throughput

FIGURE = Entry(
    category="Training",
    help="pairs per second and the time spent waiting for data",
    caption="Training throughput in pairs per second and process (median over the steps of a run), and the "
    "percentage of the time spent waiting for data. Bars are means over runs, whiskers 95% confidence "
    "intervals (Student's t, from three runs on), dots single runs.",
    inputs=("logs",),
)
# Quantity -> axis label, scale, bounds.
_QUANTITIES = {
    "pairs_per_second": ("pairs per second\nand process", 1, None),
    "waiting": ("time waiting for data (%)", 100, PERCENT),
}


def read(inputs: Inputs) -> pd.DataFrame:
    """Per run: the columns of `RUN_KEYS`, quantity, value (waiting as a fraction)."""
    check_logs_given(inputs.results)
    rows = []
    for path in sorted(inputs.results):
        log = read_timed_log(path, start=())
        speed = throughput(log.timing())
        run = list(log.identity.values())
        rows.append([*run, "pairs_per_second", speed.pairs_per_second_and_process])
        rows.append([*run, "waiting", speed.waiting_fraction])
    return pd.DataFrame(rows, columns=[*RUN_KEYS, "quantity", "value"])


def draw(data: pd.DataFrame, labels: Labels) -> Figure:
    """Bars per corpus and architecture: throughput on the left, waiting on the right."""
    parts = [part.assign(panel=name.replace(" · ", "\n")) for name, part in panels(data, labels)]
    categories = [part.panel.iloc[0] for part in parts]
    rows = pd.concat(parts)
    figure = new_figure(height=2.5)
    axes = figure.subplots(1, len(_QUANTITIES))
    for (quantity, (name, scale, bounds)), axis in zip(_QUANTITIES.items(), axes, strict=True):
        values = rows[rows.quantity == quantity]
        draw_bars(axis, values.assign(value=scale * values.value), categories, "panel", bounds)
        axis.set_xticks(range(len(categories)), categories)
        axis.set_ylabel(name)
    legend = [*legend_handles(objectives_of(data)), *bar_legend(data)]
    add_title(figure, "Training throughput", labels, legend)
    return figure
