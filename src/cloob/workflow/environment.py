"""Check that jobs can start: that conda works, and that Snakemake can submit jobs with these paths."""

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

_WITHOUT_CONDA = (
    "or run all rules in .venv, which has the same versions (envs/lock.txt): append `--sdm env-modules` to "
    "the command"
)
_LOAD_CONDA = (
    ", but the rules' environments (envs/) need conda: load it (`module load conda`, or "
    f"`. CONDA/etc/profile.d/conda.sh`) and activate .venv again, {_WITHOUT_CONDA}"
)


def conda_problem(shell: str, folder: Path) -> str | None:
    """Why jobs cannot use conda environments in `folder`, or None; runs conda in the shell of the jobs.

    Snakemake writes the paths of the environments into commands in quotes that it does not escape.
    """
    problem = _problem_of_program(shell)
    if problem:
        return problem + _LOAD_CONDA
    if set(str(folder)) & set("'\"\\$`\n"):
        return (
            f"Snakemake cannot create conda environments in {folder}: append `--conda-prefix DIR`, with a "
            f"folder of letters, digits and - _ . /, {_WITHOUT_CONDA}"
        )
    return None


def _problem_of_program(shell: str) -> str | None:
    locate, info = (
        subprocess.run([shell, "-c", command], capture_output=True, text=True, errors="replace", check=False)
        for command in ("type conda", "conda info --json")
    )
    if locate.returncode:
        return "conda is not on the PATH"
    with suppress(ValueError):
        if info.returncode == 0 and "platform" in json.loads(info.stdout):
            return None
    lines = (info.stderr or info.stdout).split("\n")
    first_line = next(filter(None, lines), "no output")
    return f"conda does not work: `conda info --json` printed {first_line!r:.200}"


def unsubmittable_path(paths: Iterable[str]) -> str | None:
    """The first path with which Snakemake cannot submit jobs to a cluster, or None.

    It writes the path of its Python into the job without quotes, and `paths` in double quotes.
    """
    if shlex.quote(sys.executable) != sys.executable:
        return sys.executable
    return next((path for path in map(os.path.abspath, paths) if set(path) & set("$`")), None)


def unusable_checkout(source: str) -> str | None:
    """Why Snakemake cannot work in the checkout with the package folder `source`, or None."""
    if set(source) & set("{}:\n"):
        return f"{Path(source).parent}: move this checkout to a path without braces, colons and line breaks"
    return None
