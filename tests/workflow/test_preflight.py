"""Problems that stop a run before its first job: conda does not work, or Snakemake cannot use the path."""

import os
import shutil
import sys
from pathlib import Path

import pytest

from tests.helpers import conda_front_end

no_conda = pytest.mark.skipif(shutil.which("conda") is not None, reason="conda is on the PATH here")


@no_conda
def test_without_conda_the_plan_is_printed_with_the_remedy(snakemake):
    plan = snakemake("--profile", "slurm", "-n", "all")
    assert plan.returncode == 0, plan.stdout + plan.stderr
    text = plan.stdout + plan.stderr
    assert text.count("conda is not on the PATH") == 1 and "--sdm env-modules" in text
    assert "rule zeroshot:" in text


@no_conda
def test_without_conda_a_real_run_stops_before_its_first_job(snakemake, tmp_path):
    target = tmp_path / "figures" / "pipeline.png"
    arguments = [target, "--cores", 1, "--nolock", "--config", f"results={tmp_path}"]
    run = snakemake(*arguments, "--sdm", "conda")
    assert run.returncode != 0 and not target.exists()
    assert "conda is not on the PATH" in (run.stdout + run.stderr).split("WorkflowError")[-1]
    # The remedy in the message works.
    run = snakemake(*arguments, "--sdm", "env-modules")
    assert run.returncode == 0 and target.exists()


@no_conda
@pytest.mark.parametrize(
    ("script", "expected"),
    [("echo broken lib >&2; exit 127", "'broken lib'"), ("echo '{}'", "'{}'"), ("exit 1", "'no output'")],
)
def test_if_conda_does_not_work_the_plan_quotes_its_output(snakemake, tmp_path, script, expected):
    conda = tmp_path / "conda"
    conda.write_text(f"#!/bin/sh\n{script}\n")
    conda.chmod(0o755)
    path = ("env", f"PATH={Path(sys.executable).parent}:{os.environ['PATH']}:{tmp_path}")
    plan = snakemake("--profile", "slurm", "-n", "results/tables/throughput.csv", before=path)
    assert plan.returncode == 0, plan.stdout + plan.stderr
    message = f"conda does not work: `conda info --json` printed {expected}"
    assert message in plan.stdout + plan.stderr and "--sdm env-modules" in plan.stdout + plan.stderr


@no_conda
def test_a_checkout_at_a_path_in_which_conda_environments_cannot_be_created_is_an_error(
    snakemake, tmp_path, awkward_checkout
):
    """Snakemake writes paths in single and double quotes."""
    conda_front_end.install(tmp_path)
    programs = [tmp_path / "bin"]
    arguments = ("--sdm", "conda", "-n", "results/figures/pipeline.png")
    plan = snakemake(*arguments, root=awkward_checkout, programs=programs)
    assert plan.returncode == 0, plan.stdout + plan.stderr
    message = (
        f"cannot create conda environments in {awkward_checkout}/.snakemake/conda: append `--conda-prefix"
    )
    assert message in plan.stdout + plan.stderr
    plan = snakemake(*arguments, "--conda-prefix", tmp_path, root=awkward_checkout, programs=programs)
    assert plan.returncode == 0 and "cannot create conda" not in plan.stdout + plan.stderr


@pytest.mark.parametrize("name", ["a{b}", "a\nb", "a:b"])
def test_a_checkout_at_a_path_that_snakemake_cannot_use_is_an_error(
    snakemake, tmp_path, name, copy_of_checkout
):
    plan = snakemake("-n", "all", root=copy_of_checkout(tmp_path / name))
    assert plan.returncode != 0
    assert "move this checkout to a path without braces, colons and line breaks" in plan.stdout + plan.stderr
