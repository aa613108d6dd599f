"""What Snakemake does after an interruption of its jobs."""

from base64 import urlsafe_b64encode

from tests.helpers.repository import ROOT


def test_a_job_that_was_interrupted_after_it_had_written_its_output_runs_again(snakemake, tmp_path):
    target = tmp_path / "figures" / "pipeline.png"
    target.parent.mkdir()
    target.touch()
    marker = ROOT / ".snakemake" / "incomplete" / urlsafe_b64encode(str(target).encode()).decode()
    marker.parent.mkdir(parents=True, exist_ok=True)
    marker.touch()
    try:
        plan = snakemake(target, "-n", "--cores", 1, "--nolock", "--config", f"results={tmp_path}")
    finally:
        marker.unlink(missing_ok=True)
    assert plan.returncode == 0, plan.stderr
    assert "figure" in plan.stdout
