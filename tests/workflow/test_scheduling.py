"""Snakemake's rate limit of submissions, whose timers keep its scheduler busy, applies only if given."""

import pytest

MESSAGE = "No rate limit of job submissions"


@pytest.mark.parametrize("option", [(), ("--max-jobs-per-timespan", "50/1s")], ids=["default", "given"])
def test_jobs_are_submitted_without_a_rate_limit_unless_it_is_given(snakemake, tmp_path, option):
    target = tmp_path / "figures" / "pipeline.png"
    arguments = ("--cores", 1, "--nolock", "--verbose", "--config", f"results={tmp_path}")
    run = snakemake(target, *option, *arguments)
    assert run.returncode == 0 and target.exists(), run.stderr
    assert (MESSAGE in run.stderr) == (not option)
