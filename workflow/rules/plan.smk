"""Said with the plan: what is missing (supplies, conda), and what training will cost, in GPU-hours."""

import json
import os
import shlex
import subprocess
import sys
from statistics import median

from snakemake.settings.types import DeploymentMethod
from snakemake.shell import shell

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
        lines = [log.readline()]
        log.seek(max(log.tell(), logs[0].stat().st_size - TAIL))
        lines += log.read().splitlines()
    events = []
    for line in lines:
        try:
            events.append(json.loads(line))
        except ValueError:  # cut off, here or by a kill
            continue
    return [event for event in events if isinstance(event, dict)]


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


def lacks_conda():
    """Whether jobs shall run in conda environments, but the shell that jobs run in finds no conda."""
    return (
        workflow.exec_mode == ExecMode.DEFAULT
        and DeploymentMethod.CONDA in workflow.deployment_settings.deployment_method
        and subprocess.run(
            [shell.get_executable() or "sh", "-c", "type conda"], capture_output=True
        ).returncode
    )


NO_CONDA = (
    "conda is not on the PATH, but the rules' environments (envs/) are made with it: load it "
    "(`module load conda`, or `. CONDA/etc/profile.d/conda.sh`) and activate .venv again, or run all rules in "
    ".venv, whose versions are the same (envs/lock.txt): put `--sdm env-modules` at the end of the command"
)


def plan_without_conda():
    """Let a plan be printed where conda is missing, which Snakemake asks even for that; a real run is refused."""
    logger.warning(NO_CONDA)
    methods = workflow.deployment_settings.deployment_method
    workflow.deployment_settings.deployment_method = methods - {DeploymentMethod.CONDA}


def refuse_where_jobs_cannot_start():
    """Stop a real run before its first job: conda is missing, or Snakemake cannot submit jobs with these paths.

    Into a submitted job it writes the path of its Python without quotes, and others in double quotes.
    """
    if LACKS_CONDA:
        raise WorkflowError(NO_CONDA)
    paths = [workflow.main_snakefile, *workflow.overwrite_configfiles]
    broken = [sys.executable] if shlex.quote(sys.executable) != sys.executable else []
    broken += [path for path in map(os.path.abspath, paths) if set(path) & set("$`")]
    if workflow.non_local_exec and broken:
        raise WorkflowError(
            f"Snakemake cannot submit jobs with the path {broken[0]}: on a cluster, put checkout, .venv and config "
            "at paths of letters, digits and - _ . /, or run without --profile"
        )


LACKS_CONDA = lacks_conda()
if LACKS_CONDA:
    plan_without_conda()
announce_supplies()
announce_training()
