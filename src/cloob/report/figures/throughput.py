"""Throughput: pairs per second and process, and how long training waited for data."""

from collections.abc import Sequence
from pathlib import Path
from statistics import median

import pandas as pd
from matplotlib.figure import Figure

from cloob.report.figures.bars import bar_legend, draw_bars
from cloob.report.figures.inputs import RUN, logs, objectives_of, panels
from cloob.report.render.style import handles, new_figure, title

_STEP = ("samples_per_second", "data_seconds", "batch_seconds")
QUANTITIES = {
    "pairs_per_second": "pairs per second\nand process",
    "waiting": "time waiting for data (%)",
}


def read(inputs: Sequence[Path]) -> pd.DataFrame:
    """Per run the median rate over its steps, and the share of its time that data took: RUN, quantity, value.

    A run that went on with another number of processes counts each step by those of its time.
    """
    rows = []
    for _, run, events in logs(inputs, step=_STEP):
        rates, waited, total, processes = [], 0.0, 0.0, 1
        for event in events:
            processes = event.get("processes", processes)
            if event["event"] == "step":
                rates.append(event["samples_per_second"] / processes)
                waited += event["data_seconds"]
                total += event["batch_seconds"]
        rows.append([*run.values(), "pairs_per_second", median(rates)])
        rows.append([*run.values(), "waiting", waited / total])
    return pd.DataFrame(rows, columns=[*RUN, "quantity", "value"])


def draw(data: pd.DataFrame, mark: str) -> Figure:
    """Bars per corpus and architecture: rates on the left, waiting on the right."""
    parts = [part.assign(panel=name.replace(" · ", "\n")) for name, part in panels(data)]
    places = [part.panel.iloc[0] for part in parts]
    all_parts = pd.concat(parts)
    figure = new_figure(height=2.5)
    axes = figure.subplots(1, 2)
    for (quantity, name), axis in zip(QUANTITIES.items(), axes, strict=True):
        shown = all_parts[all_parts.quantity == quantity]
        scale = 100 if quantity == "waiting" else 1
        draw_bars(axis, shown.assign(value=scale * shown.value), places, "panel")
        axis.set_xticks(range(len(places)), places)
        axis.set(ylabel=name, ylim=(0, None))
    title(figure, "Throughput of training", mark, [*handles(objectives_of(data)), *bar_legend(data)])
    return figure
