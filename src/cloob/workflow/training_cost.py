"""The cost of unfinished runs and trials in GPU-hours, from recipe, corpus and measured throughput."""

from collections.abc import Iterator
from dataclasses import astuple, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from cloob.common.errors import InputError, user_message
from cloob.common.json_files import read_json
from cloob.common.json_lines import Event, first_and_last_events
from cloob.report.stats.throughput import rates_per_process
from cloob.train.schedule import warm_up_problem
from cloob.workflow.runs import Config, num_processes, planned_runs, recipe_arguments
from cloob.workflow.search import (
    all_trials,
    reported_searches,
    searches,
    trial_arguments,
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

    @property
    def kind(self) -> str:
        """What the lines and warnings of the plan call it."""
        return f"trials of search {self.search}" if self.search else f"recipe {self.recipe}"


@dataclass(frozen=True)
class _Training:
    """A run or trial: its recipe, its folder, and the file that is written last."""

    group: _Group
    recipe: dict[str, Any] | None  # None if a search chooses some of its values
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
            training
            for training in trainings
            if training.group == group and not file_exists(training.folder / training.last_output)
        ]
        if unfinished:
            pairs, rate = _num_pairs(config, group.corpus), _samples_per_second_and_process(same_model)
            lines.append(_cost_line(group, [events[training.folder] for training in unfinished], pairs, rate))
            warnings += _long_warm_ups(unfinished, pairs)
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
            recipe, folder = trial_arguments(config, trial), Path(trial_folder(config, trial))
            yield _Training(group, recipe, folder, "metrics.jsonl")


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
        recipe = recipe_arguments(config["recipes"][planned.recipe], planned.run.objective)
        folder = Path(config["results"], "train", name)
        trainings.append(_Training(group, None if planned.search else recipe, folder, "final.pt"))
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


def _num_pairs(config: Config, corpus: str) -> int | str:
    """The number of pairs of a training corpus, or why it is unknown."""
    path, remedy = Path(config["results"], "shards", corpus, "train", "shards.json"), "pack the corpus again"
    if not file_exists(path):
        return "unknown until the corpus is packed"
    try:
        content = read_json(path, remedy)
    except (InputError, OSError) as error:
        return f"unknown ({user_message(error) or error})"
    samples = content.get("samples") if isinstance(content, dict) else None
    if type(samples) is not int or not 0 <= samples < 2**63:
        return f"unknown ({path}: no number of samples; {remedy})"
    return samples


def _long_warm_ups(trainings: list[_Training], pairs: int | str) -> list[str]:
    """A warning for every warm-up that ends after the training, as far as corpus and recipe are known."""
    warnings = []
    for training in trainings:
        recipe, group = training.recipe, training.group
        if recipe is None or isinstance(pairs, str) or pairs < recipe["batch_size"]:
            continue
        problem = warm_up_problem(recipe["warmup_steps"], pairs // recipe["batch_size"], recipe["epochs"])
        if problem:
            warnings.append(f"{group.corpus}, {group.kind}: warmup_steps: {problem}")
    return list(dict.fromkeys(warnings))


def _cost_line(group: _Group, unfinished: list[list[Event]], num_pairs: int | str, rate: float | None) -> str:
    count = len(unfinished)
    line = f"{count} × {group.corpus} {group.architecture}, {group.kind}, {group.epochs} epochs"
    if isinstance(num_pairs, str):
        return f"{line}: number of pairs {num_pairs}"
    pairs = group.epochs * num_pairs
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
