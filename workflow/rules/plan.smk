"""Said with the plan: what has to be supplied, and what training will cost, in GPU-hours where a rate was measured."""

import json
from statistics import median


def measured_rate(architecture):
    """Pairs a second and process in the logs of this architecture's runs, or None where none has been trained."""
    rates = []
    for name, run in RUNS.items():
        for log in Path(config["results"], "train", name).glob("**/metrics.jsonl"):
            processes = 1
            for line in log.read_text().splitlines():
                event = json.loads(line) if line.endswith("}") else {}
                processes = event.get("processes", processes)
                if run["architecture"] == architecture and event.get("event") == "step":
                    rates.append(event["samples_per_second"] / processes)
    return median(rates) if rates else None


def announce_training():
    """With the plan, one line per kind of run of the grid that is not trained yet."""
    kinds = {}
    for name, run in RUNS.items():
        if not Path(config["results"], "train", name, "final.pt").exists():
            kinds.setdefault((run["corpus"], run["architecture"], run["recipe"]), []).append(name)
    lines = [cost_of(*kind, len(names)) for kind, names in sorted(kinds.items())]
    if lines and workflow.exec_mode == ExecMode.DEFAULT:
        logger.warning(
            "Training that the grid of runs still asks for:\n" + "\n".join(f"  - {one}" for one in lines)
        )


def cost_of(corpus, architecture, recipe, runs):
    """The line for so many runs."""
    epochs = config["recipes"][recipe]["epochs"]
    line = f"{runs} × {corpus} {architecture}, {epochs} epochs"
    manifest = Path(config["results"], "shards", corpus, "train", "shards.json")
    rate = measured_rate(architecture)
    if not manifest.exists():
        return f"{line}: pairs not known before the corpus is packed"
    pairs = epochs * json.loads(manifest.read_text())["samples"]
    line += f": {pairs:,} pairs each"
    if rate is None:
        return f"{line}; no run of {architecture} measured yet, so no hours"
    hours = pairs / rate / 3600
    each = hours / config["train"]["processes"]
    return f"{line}, {each:,.2f} h on {config['train']['processes']} processes; {runs * hours:,.1f} GPU-hours in all (one GPU a process)"


announce_supplies()
announce_training()
