"""Said with the plan: what has to be supplied, and what training will cost, in GPU-hours where a rate was measured."""

import json
import sys
from statistics import median

sys.path.insert(0, str(SOURCE))

from cloob.events import first_and_last_events

# Of a log's end: some thousand steps.
TAIL = 2**18


def events_of(run):
    """The first event in the log of a run, and those at its end; none where it has not begun."""
    folder = Path(config["results"], "train", run)
    logs = [
        log for log in (folder / "checkpoints" / "metrics.jsonl", folder / "metrics.jsonl") if log.exists()
    ]
    if not logs:
        return []
    events, damaged = first_and_last_events(logs[0], TAIL)
    if damaged:
        logger.warning(f"{logs[0]}: damaged in line {damaged}, which is passed over")
    return events


def measured_rate(architecture):
    """Pairs a second and process in the logs of this architecture's runs, or None where none has been trained."""
    rates = []
    for name in (name for name, run in RUNS.items() if run["architecture"] == architecture):
        processes = 1
        for event in events_of(name):
            processes = event.get("processes", processes)
            if event["event"] == "step" and "samples_per_second" in event:
                rates.append(event["samples_per_second"] / processes)
    return median(rates) if rates else None


def announce_training():
    """With the plan, one line per kind of run of the grid that is not trained yet."""
    if workflow.exec_mode != ExecMode.DEFAULT:  # in a job
        return
    kinds = {}
    for name, run in RUNS.items():
        if not Path(config["results"], "train", name, "final.pt").exists():
            kinds.setdefault((run["corpus"], run["architecture"], run["recipe"]), []).append(name)
    lines = [cost_of(*kind, names) for kind, names in sorted(kinds.items())]
    if lines:
        logger.warning(
            "Training that the grid of runs still asks for:\n" + "\n".join(f"  - {one}" for one in lines)
        )


def cost_of(corpus, architecture, recipe, names):
    """The line for runs of one kind."""
    epochs = config["recipes"][recipe]["epochs"]
    line = f"{len(names)} × {corpus} {architecture}, {epochs} epochs"
    manifest = Path(config["results"], "shards", corpus, "train", "shards.json")
    if not manifest.exists():
        return f"{line}: pairs not known before the corpus is packed"
    pairs = epochs * json.loads(manifest.read_text())["samples"]
    line += f": {pairs:,} pairs each"
    trained = sum(
        max((event.get("samples_seen", 0) for event in events_of(name)), default=0) for name in names
    )
    if trained:
        line += f", {trained:,} of all trained"
    rate = measured_rate(architecture)
    if rate is None:
        return f"{line}; no run of {architecture} measured yet, so no hours"
    each = pairs / rate / 3600 / config["train"]["processes"]
    hours = max(0, len(names) * pairs - trained) / rate / 3600
    return f"{line}, {each:,.2f} h on {config['train']['processes']} processes; {hours:,.1f} GPU-hours to go (one GPU a process)"


announce_supplies()
announce_training()
