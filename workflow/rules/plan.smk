"""Said with the plan: what has to be supplied, and what training will cost, in GPU-hours where a rate was measured."""

import json
from statistics import median

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
    with logs[0].open("rb") as log:
        first = log.readline()
        start = max(log.tell(), logs[0].stat().st_size - TAIL)
        log.seek(start)
        lines = [first, *log.read().split(b"\n")]
        # The first line of the tail is cut off here, the last one perhaps by a kill.
        cut = {0, len(lines) - 1} | ({1} if start > len(first) else set())
        events = [parse_event(line) for line in lines]
        damaged = [at for at, event in enumerate(events) if event is None and at not in cut and lines[at]]
        if damaged or (len(lines) > 2 and events[0] is None):
            place = damaged[0] if damaged and events[0] is not None else 0
            log.seek(0)
            before = log.read(start).count(b"\n") if place else 0
            logger.warning(f"{logs[0]}: line {before + max(place, 1)} is not JSON, the file was damaged; it is passed over")
    return [event for event in events if event is not None]


def measured_rate(architecture):
    """Pairs a second and process in the logs of this architecture's runs, or None where none has been trained."""
    rates = []
    for name in (name for name, run in RUNS.items() if run["architecture"] == architecture):
        processes = 1
        for event in events_of(name):
            processes = event.get("processes", processes)
            if event.get("event") == "step":
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
