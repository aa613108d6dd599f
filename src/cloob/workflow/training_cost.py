"""The cost of unfinished training runs in GPU-hours, from recipe, corpus and measured throughput."""

import json
from pathlib import Path
from statistics import median

from cloob.common.json_lines import Event, first_and_last_events
from cloob.report.stats.throughput import rates_per_process
from cloob.workflow.runs import Config, planned_runs

# Bytes read from the end of a log: some thousand steps.
_TAIL_BYTES = 2**18


def run_events(config: Config, run: str) -> tuple[list[Event], str | None]:
    """The first event of a run's log and those at its end, and a warning if a line is damaged.

    Without a log there are no events.
    """
    folder = Path(config["results"], "train", run)
    candidates = (folder / "checkpoints" / "metrics.jsonl", folder / "metrics.jsonl")
    log = next((path for path in candidates if path.exists()), None)
    if log is None:
        return [], None
    events, damaged_line = first_and_last_events(log, _TAIL_BYTES)
    return events, f"{log}: skipped damaged line {damaged_line}" if damaged_line else None


def training_cost(config: Config) -> tuple[list[str], list[str]]:
    """One line per group of unfinished runs with the same corpus, architecture and recipe; and warnings."""
    runs = planned_runs(config)
    events, warnings = {}, []
    for name in runs:
        events[name], warning = run_events(config, name)
        warnings += [warning] if warning else []
    groups: dict[tuple[str, str, str], list[str]] = {}
    for name, planned in runs.items():
        if not Path(config["results"], "train", name, "final.pt").exists():
            run = planned.run
            groups.setdefault((run.corpus, run.architecture, run.recipe), []).append(name)
    lines = []
    for (corpus, architecture, recipe), names in sorted(groups.items()):
        same_model = [events[name] for name in runs if runs[name].run.architecture == architecture]
        rate = _samples_per_second_and_process(same_model)
        seen = sum(max((event.get("samples_seen", 0) for event in events[name]), default=0) for name in names)
        lines.append(_cost_line(config, corpus, architecture, recipe, len(names), int(seen), rate))
    return lines, warnings


def _samples_per_second_and_process(logs: list[list[Event]]) -> float | None:
    """The median throughput per process in the logs, or None where no step has been logged."""
    rates = [rate for events in logs for rate in rates_per_process(events)]
    return median(rates) if rates else None


def _cost_line(
    config: Config, corpus: str, architecture: str, recipe: str, runs: int, seen: int, rate: float | None
) -> str:
    epochs, processes = config["recipes"][recipe]["epochs"], config["train"]["processes"]
    line = f"{runs} × {corpus} {architecture}, {epochs} epochs"
    manifest = Path(config["results"], "shards", corpus, "train", "shards.json")
    if not manifest.exists():
        return f"{line}: number of pairs unknown until the corpus is packed"
    pairs = epochs * json.loads(manifest.read_text())["samples"]
    line += f": {pairs:,} pairs per run"
    if seen:
        line += f", {seen:,} trained over all runs"
    if rate is None:
        return f"{line}; time unknown, because no run of {architecture} has been measured"
    hours_per_run = pairs / rate / 3600 / processes
    remaining = max(0, runs * pairs - seen) / rate / 3600
    return (
        f"{line}, {hours_per_run:,.2f} h per run with {processes} processes; "
        f"{remaining:,.1f} GPU-hours remaining (one GPU per process)"
    )
