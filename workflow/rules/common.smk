"""Check the config, print missing inputs and training costs with the plan, stop before jobs that must fail."""

import os
import re
import sys
from pathlib import Path

import yaml
from snakemake.exceptions import WorkflowError
from snakemake.logging import logger
from snakemake.settings.types import DeploymentMethod
from snakemake.shell import shell
from snakemake_interface_executor_plugins.settings import ExecMode

WORKFLOW = Path(workflow.basedir)
# Every job, in any environment, calls `cloob` from this checkout. Arguments whose number grows with corpus or
# runs do not fit on a command line. A rule passes them as a file, @<(printf '%s\0' ARGUMENTS ), see
# `cloob --help`: the shell's own printf has no limit, and Snakemake writes long commands to a script.
SOURCE = WORKFLOW.parent / "src"
sys.path.insert(0, str(SOURCE))
shell.prefix('set -euo pipefail; export PYTHONPATH={SOURCE:q}; cloob() {{ python -m cloob "$@"; }}; ')
# Packages in ~/.local would hide those of a conda environment from its rules, and pip, which fills it, would
# not install them. Not part of the prefix: Snakemake creates environments without it.
os.environ.update(PYTHONNOUSERSITE="1")

from cloob.common.errors import InputError
from cloob.objectives.registry import OBJECTIVES
from cloob.report.registry import figures, tables
from cloob.workflow import corpora, environment, evaluation, released, report_inputs, runs, search
from cloob.workflow.checks import check_config
from cloob.workflow.flags import flags
from cloob.workflow.report_inputs import report_names
from cloob.workflow.toy_data import toy_files, toy_flags, toy_folders
from cloob.workflow.training_cost import training_cost
from cloob.workflow.user_inputs import missing_inputs_message, missing_needed_inputs, missing_user_inputs

# False in the jobs, which parse the Snakefile again.
IS_MAIN_PROCESS = workflow.exec_mode == ExecMode.DEFAULT


def alternatives(names):
    """The constraint of a wildcard to names."""
    return "|".join(map(re.escape, names)) or "none"


def defined(function):
    """An input function that ends the plan with a message where the config lacks what wildcards name."""

    def files(wildcards):
        try:
            return function(wildcards)
        except InputError as error:
            raise WorkflowError(str(error)) from None

    return files


def split_of(wildcards):
    """The split of a corpus that a rule works on."""
    return corpora.Split(wildcards.corpus, wildcards.split)


def checkpoint_of(wildcards):
    """The checkpoint of a run after an epoch."""
    return evaluation.checkpoint(config, wildcards.run, int(wildcards.epoch))


def final_checkpoint_of(wildcards):
    """The final checkpoint of a run, which has to keep the checkpoint of the epoch that is evaluated."""
    return evaluation.final_checkpoint(config, wildcards.run, int(wildcards.epoch))


# Snakemake runs a finished job again if a parameter has changed, unless its function has an argument `input`.
# Those of processes, threads and workers have it, because they determine only how a job runs; those below do
# not, because inputs do not say which folder belongs to which test set, nor a retrieval set's split and title.
def testset_flags(wildcards):
    """All test sets, as flags of `cloob evaluate`."""
    return evaluation.testset_flags(config, config["testsets"])


def probed_testset_flags(wildcards):
    """The test sets with a linear probe, as flags of `cloob evaluate`."""
    return evaluation.testset_flags(config, evaluation.probed_testsets(config))


def retrieval_set_flags(wildcards):
    """All retrieval sets, as flags of `cloob evaluate image-text`."""
    return evaluation.retrieval_set_flags(config)


def report_files(kind, name):
    """The inputs of a table or figure."""
    problem = report_inputs.unmet_requirement(config, report_inputs.report_entry(kind, name))
    if problem:
        raise WorkflowError(problem)
    return report_inputs.report_input_files(config, kind, name, WORKFLOW)


def stop_if_config_is_invalid():
    """Raise one readable error with every problem of the config; normalize the config."""
    checkout = environment.unusable_checkout(str(SOURCE)) if IS_MAIN_PROCESS else None
    schema = yaml.safe_load((WORKFLOW / "schemas" / "config.schema.yaml").read_text())
    problems = check_config(config, schema, workflow.configfiles if IS_MAIN_PROCESS else [])
    problems = ([checkout] if checkout else []) + problems
    if problems:
        raise WorkflowError("The config is invalid:\n" + "\n".join(f"  - {line}" for line in problems))


def stop_if_user_inputs_are_missing(dag):
    """Stop before the first job if an input that only the user can supply is missing."""
    jobs = list(dag.needrun_jobs())
    paths = {str(path) for job in jobs if job.rule.name == "user_inputs" for path in job.output}
    if paths:
        # The rule's outputs are the inputs of all corpora and test sets; report those that jobs wait for.
        paths = paths & {str(path) for job in jobs for path in job.input} or paths
        raise WorkflowError(missing_inputs_message(config, paths))


def remove_default_rate_limit():
    """Submit jobs without Snakemake's rate limit, unless the user gives one.

    For the limit, Snakemake 9.27 starts a timer after each job that wakes the scheduler every second until the
    workflow ends. After 200 jobs it took a third of a core.
    """
    limit = workflow.scheduler.job_rate_limiter
    if limit is not None and (limit.max_jobs, limit.timespan) == (100, 1):
        workflow.scheduler.job_rate_limiter = None
        logger.debug("No rate limit of job submissions; set one with --max-jobs-per-timespan.")


def stop_if_jobs_cannot_start():
    """Stop before the first job if conda does not work, or Snakemake cannot submit jobs with these paths."""
    if CONDA_PROBLEM:
        raise WorkflowError(CONDA_PROBLEM)
    paths = [workflow.main_snakefile, *workflow.overwrite_configfiles]
    path = environment.unsubmittable_path(paths) if workflow.non_local_exec else None
    if path:
        raise WorkflowError(
            f"Snakemake cannot submit jobs with the path {path}: on a cluster, move checkout, .venv and "
            "config to paths of letters, digits and - _ . /, or run without --profile"
        )


def check_conda():
    """Return why conda cannot be used, or None; disable it in that case, so that a plan is still printed."""
    methods = workflow.deployment_settings.deployment_method
    if not IS_MAIN_PROCESS or DeploymentMethod.CONDA not in methods:
        return None
    folder = Path(workflow.deployment_settings.conda_prefix or ".snakemake/conda").absolute()
    problem = environment.conda_problem(shell.get_executable() or "sh", folder)
    if problem:
        logger.warning(problem)
        workflow.deployment_settings.deployment_method = methods - {DeploymentMethod.CONDA}
    return problem


def report_plan():
    """Print with the plan the inputs that the user has to supply, and the cost of training."""
    missing = missing_needed_inputs(config)
    if missing:
        logger.warning(missing_inputs_message(config, missing.values()))
    lines, warnings = training_cost(config)
    for warning in warnings:
        logger.warning(warning)
    if lines:
        logger.warning("Training runs that are not finished:\n" + "\n".join(f"  - {line}" for line in lines))


stop_if_config_is_invalid()
CONDA_PROBLEM = check_conda()
if IS_MAIN_PROCESS:
    report_plan()
