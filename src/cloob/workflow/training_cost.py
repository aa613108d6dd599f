"""The cost of unfinished runs and trials in GPU-hours, from recipe, corpus and measured throughput."""

from collections.abc import Iterator
from dataclasses import astuple, dataclass
from pathlib import Path
from statistics import median

from cloob.common.errors import InputError, user_message
from cloob.common.json_files import read_json
from cloob.common.json_lines import Event, first_and_last_events
from cloob.report.stats.throughput import rates_per_process
from cloob.workflow.runs import Config, num_processes, planned_runs
from cloob.workflow.search import (
    all_trials,
    reported_searches,
    searches,
    trial_folder,
    trial_processes,
    used_searches,
)
from cloob.workflow.user_inputs import file_exists

# Bytes read from the end of a log: some thousand steps.
_TAIL_BYTES = 2**18


@dataclass(frozen=True)
class _Group:
    """Runs or trials with the same cost, which share a line."""

    corpus: str
    architecture: str
    epochs: int
    recipe: str  # of runs
    search: str  # of trials
    processes: int


@dataclass(frozen=True)
class _Training:
    """A run or trial: its folder, and the file that is written last."""

    group: _Group
    folder: Path
    last_output: str


def training_cost(config: Config) -> tuple[list[str], list[str]]:
    """One line per group of unfinished runs or trials; and warnings."""
    trainings = [*_trials(config), *_runs(config)]
    events, warnings = {}, []
    for training in trainings:
        events[training.folder], warning = _events(training.folder)
        warnings += [warning] if warning else []
    lines = []
    for group in dict.fromkeys(training.group for training in trainings):
        same_model = [
            events[training.folder]
            for training in trainings
            if training.group.architecture == group.architecture
        ]
        unfinished = [
            events[training.folder]
            for training in trainings
            if training.group == group and not file_exists(training.folder / training.last_output)
        ]
        if unfinished:
            rate = _samples_per_second_and_process(same_model)
            lines.append(_cost_line(config, group, unfinished, rate))
    return lines, warnings


def _trials(config: Config) -> Iterator[_Training]:
    """The trials of the searches that runs use; if there are none, those of all searches."""
    for name in reported_searches(config):
        settings = searches(config)[name]
        group = _Group(
            corpus=settings["corpus"],
            architecture=settings["architecture"],
            epochs=config["recipes"][settings["recipe"]]["epochs"],
            recipe="",
            search=name if name in used_searches(config) else f"{name} (only for tables/search.csv)",
            processes=trial_processes(config, name),
        )
        for trial in all_trials(config, name):
            yield _Training(group, Path(trial_folder(config, trial)), "metrics.jsonl")


def _runs(config: Config) -> Iterator[_Training]:
    trainings = []
    for name, planned in planned_runs(config).items():
        group = _Group(
            corpus=planned.run.corpus,
            architecture=planned.run.architecture,
            epochs=config["recipes"][planned.recipe]["epochs"],
            recipe=planned.run.recipe,
            search="",
            processes=num_processes(config, name),
        )
        trainings.append(_Training(group, Path(config["results"], "train", name), "final.pt"))
    yield from sorted(trainings, key=lambda training: astuple(training.group))


def _events(folder: Path) -> tuple[list[Event], str | None]:
    """The first event of the log of a run and those at its end, and a warning if it is damaged.

    Without a log, or if it cannot be read, there are no events.
    """
    candidates = (folder / "checkpoints" / "metrics.jsonl", folder / "metrics.jsonl")
    log = next((path for path in candidates if file_exists(path)), None)
    if log is None:
        return [], None
    try:
        events, damaged_line = first_and_last_events(log, _TAIL_BYTES)
    except OSError as error:
        return [], user_message(error) or str(error)
    return events, f"{log}: skipped damaged line {damaged_line}" if damaged_line else None


def _samples_per_second_and_process(logs: list[list[Event]]) -> float | None:
    """The median throughput per process in the logs, or None where no step has been logged."""
    rates = [rate for events in logs for rate in rates_per_process(events)]
    return median(rates) if rates else None


def _num_pairs(manifest: Path) -> int:
    """The number of pairs of a packed corpus. Raises `InputError` or `OSError` if it cannot be read."""
    remedy = "pack the corpus again"
    content = read_json(manifest, remedy)
    samples = content.get("samples") if isinstance(content, dict) else None
    if type(samples) is not int or not 0 <= samples < 2**63:
        raise InputError(f"{manifest}: no number of samples; {remedy}")
    return samples


def _cost_line(config: Config, group: _Group, unfinished: list[list[Event]], rate: float | None) -> str:
    count = len(unfinished)
    kind = f"trials of search {group.search}" if group.search else f"recipe {group.recipe}"
    line = f"{count} × {group.corpus} {group.architecture}, {kind}, {group.epochs} epochs"
    manifest = Path(config["results"], "shards", group.corpus, "train", "shards.json")
    if not file_exists(manifest):
        return f"{line}: number of pairs unknown until the corpus is packed"
    try:
        pairs = group.epochs * _num_pairs(manifest)
    except (InputError, OSError) as error:
        return f"{line}: number of pairs unknown ({user_message(error) or error})"
    samples_seen = (max((event.get("samples_seen", 0) for event in run), default=0) for run in unfinished)
    seen = int(sum(samples_seen))
    line += f": {pairs:,} pairs each"
    if seen:
        line += f", {seen:,} trained so far"
    if rate is None:
        return f"{line}; time unknown, because no run of {group.architecture} has been measured"
    hours = pairs / rate / 3600 / group.processes
    remaining = max(0, count * pairs - seen) / rate / 3600
    unit = "process" if group.processes == 1 else "processes"
    return (
        f"{line}, {hours:,.2f} h each with {group.processes} {unit}; "
        f"{remaining:,.1f} GPU-hours remaining (one GPU per process)"
    )
