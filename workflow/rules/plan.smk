"""Said with the plan: what is missing (supplies, conda), and what training will cost, in GPU-hours."""

import json
import os
import shlex
import subprocess
import sys
from contextlib import suppress
from statistics import median

from snakemake.settings.types import DeploymentMethod
from snakemake.shell import shell

from cloob.common.json_lines import first_and_last_events

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


def problem_of_conda():
    """Why jobs that shall run in conda environments could not, or None: what conda says to the shell of jobs."""
    asked_for = DeploymentMethod.CONDA in workflow.deployment_settings.deployment_method
    if workflow.exec_mode != ExecMode.DEFAULT or not asked_for:
        return None
    type_of, info = (
        subprocess.run(
            [shell.get_executable() or "sh", "-c", command], capture_output=True, text=True, errors="replace"
        )
        for command in ("type conda", "conda info --json")
    )
    if type_of.returncode:
        return "conda is not on the PATH"
    with suppress(ValueError):
        if info.returncode == 0 and "platform" in json.loads(info.stdout):
            return None
    said = (info.stderr or info.stdout).split("\n")
    return f"conda does not run: `conda info --json` says {next(filter(None, said), 'nothing')!r:.200}"


NO_CONDA = (
    ", but the rules' environments (envs/) are made with it: load it "
    "(`module load conda`, or `. CONDA/etc/profile.d/conda.sh`) and activate .venv again, or run all rules in "
    ".venv, whose versions are the same (envs/lock.txt): put `--sdm env-modules` at the end of the command"
)


def plan_without_conda():
    """Let a plan be printed where conda does not run, which Snakemake asks even then; a real run is refused."""
    logger.warning(CONDA_PROBLEM + NO_CONDA)
    methods = workflow.deployment_settings.deployment_method
    workflow.deployment_settings.deployment_method = methods - {DeploymentMethod.CONDA}


def refuse_where_jobs_cannot_start():
    """Stop a real run before its first job: conda does not run, or Snakemake cannot submit jobs with these paths.

    Into a submitted job it writes the path of its Python without quotes, and others in double quotes.
    """
    if CONDA_PROBLEM:
        raise WorkflowError(CONDA_PROBLEM + NO_CONDA)
    paths = [workflow.main_snakefile, *workflow.overwrite_configfiles]
    broken = [sys.executable] if shlex.quote(sys.executable) != sys.executable else []
    broken += [path for path in map(os.path.abspath, paths) if set(path) & set("$`")]
    if workflow.non_local_exec and broken:
        raise WorkflowError(
            f"Snakemake cannot submit jobs with the path {broken[0]}: on a cluster, put checkout, .venv and config "
            "at paths of letters, digits and - _ . /, or run without --profile"
        )


CONDA_PROBLEM = problem_of_conda()
if CONDA_PROBLEM:
    plan_without_conda()
announce_supplies()
announce_training()
