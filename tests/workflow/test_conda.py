"""The conda environments of the rules: created by Snakemake, and a tenth of the demo run in them.

No conda channel is needed: `conda` is a program of the tests (tests/helpers/conda_front_end.py) that makes
the environments with py-rattler and pip, from a channel on disk with a python made from the running
interpreter. That checks the environment files and their pip parts, Snakemake's calls and activation, and
that the rules of the demo have what they need. These rules never run: prepare_testset, open_clip_model,
released_checkpoint, download_retrieval_set, released_zeroshot, released_linear_probe, released_image_text,
and user_inputs, which only prints. It cannot check conda's own program, solver and shell functions, the
packages of conda-forge (its python and the libraries it brings), GPUs, or compute nodes.

pip downloads 3 GB. Run with `-s` to see how long the environments take and how large they are.
"""

import importlib.metadata
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd
import pytest
import yaml
from packaging.utils import canonicalize_name

from cloob.report.registry import figures, tables
from tests.helpers import conda_front_end
from tests.helpers.conda_channel import base_interpreter_problem, build_channel
from tests.helpers.repository import ROOT
from tests.helpers.tenth_of_demo import free_port, tenth_of, with_search

ENVS = {env.name: env for env in sorted((ROOT / "envs").glob("*.yaml"))}
PROBLEM = base_interpreter_problem()

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(3600),
    pytest.mark.skipif(PROBLEM is not None, reason=f"no python package can be made: {PROBLEM}"),
]


def write_program(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


def install_broken_numpy(user_site):
    """A numpy of the locked version in the user's own site-packages, which no environment may use."""
    info = user_site / f"numpy-{importlib.metadata.version('numpy')}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(importlib.metadata.distribution("numpy").read_text("METADATA"))
    (info / "INSTALLER").write_text("pip\n")
    (info / "RECORD").write_text("numpy/__init__.py,,\n")
    (user_site / "numpy").mkdir()
    (user_site / "numpy" / "__init__.py").write_text("raise ImportError('the numpy of the home folder')\n")


class Pipeline:
    """A copy of the checkout with the config of a tenth of the demo, and the programs for PATH."""

    def __init__(self, folder, copy_of_checkout):
        self.root = copy_of_checkout(folder / "checkout")
        self.results = self.root / "results" / "tenth"
        self.config = folder / "tenth.yaml"
        demo = yaml.safe_load((ROOT / "config" / "demo.yaml").read_text())
        content = with_search(tenth_of(demo, str(self.results), free_port()))
        self.config.write_text(yaml.safe_dump(content))
        home, programs, conda = folder / "home", folder / "programs", folder / "conda"
        version = "python{}.{}".format(*sys.version_info)
        install_broken_numpy(home / ".local" / "lib" / version / "site-packages")
        build_channel(conda / "channels" / "conda-forge")
        conda_front_end.install(conda)
        write_program(programs / "snakemake", f'#!/bin/sh\nexec {sys.executable} -m snakemake "$@"\n')
        # Outside of an environment, a rule finds no Python that it could use instead.
        write_program(programs / "python", "#!/bin/sh\necho 'no environment is active' >&2\nexit 1\n")
        self.environment = {
            "HOME": str(home),
            "LANG": "C.UTF-8",
            "PATH": f"{programs}:{conda / 'bin'}:/usr/local/bin:/usr/bin:/bin",
            # Modules are compiled when they are imported: most of them never are.
            "PIP_NO_COMPILE": "1",
            "PIP_CACHE_DIR": str(folder / "pip"),
            **{name: value for name, value in os.environ.items() if name.startswith(("PIP_", "SSL_"))},
        }

    def run(self, *arguments):
        """Snakemake with the server of the toy dataset; returns its output."""
        command = [sys.executable, "-m", "cloob", "toy-data", "serve", "--config", self.config, "--"]
        command += ["snakemake", "--sdm", "conda", "--configfile", self.config, "--cores", "2", *arguments]
        done = subprocess.run(
            list(map(str, command)),
            cwd=self.root,
            env=self.environment | {"PYTHONPATH": str(ROOT / "src")},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout[-20000:]
        return done.stdout

    def environments(self):
        """The folder of every environment, by the name of its file."""
        by_content = {env.read_text(): name for name, env in ENVS.items()}
        copies = (self.root / ".snakemake" / "conda").glob("*.yaml")
        return {by_content[copy.read_text()]: copy.with_suffix("") for copy in copies}

    def in_environment(self, folder, *arguments):
        """The output of its Python, without the home folder's packages as in the rules."""
        environment = self.environment | {"PYTHONNOUSERSITE": "1"}
        command = [folder / "bin" / "python", *arguments]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout


@pytest.fixture(scope="module")
def pipeline(copy_of_checkout):
    """Everything is deleted at the end: pytest would keep the folders of three runs."""
    with TemporaryDirectory(prefix="cloob_conda_") as folder:
        yield Pipeline(Path(folder), copy_of_checkout)


@pytest.fixture(scope="module")
def environments(pipeline):
    """All environments, created by Snakemake before any job."""
    start = time.monotonic()
    pipeline.run("all", "--conda-create-envs-only")
    print(f"\n{time.monotonic() - start:.0f} s for all environments")
    for name, folder in sorted(pipeline.environments().items()):
        size = subprocess.run(["du", "-sm", folder], capture_output=True, text=True, check=True).stdout
        print(f"{name}: {int(size.split()[0]) / 1000:.1f} GB")
    return pipeline.environments()


@pytest.fixture(scope="module")
def output(pipeline, environments):
    """What Snakemake printed when it built everything."""
    start = time.monotonic()
    text = pipeline.run("all")
    print(f"\n{time.monotonic() - start:.0f} s for the pipeline")
    return text


def test_snakemake_creates_every_environment(environments):
    assert set(environments) == set(ENVS)


@pytest.mark.parametrize("name", ENVS)
def test_an_environment_has_the_pinned_packages_and_no_conflict(pipeline, environments, name):
    dependencies = yaml.safe_load(ENVS[name].read_text())["dependencies"]
    [pip] = [entry for entry in dependencies if isinstance(entry, dict)]
    pinned = dict(pin.split("==") for pin in pip["pip"])
    listed = json.loads(pipeline.in_environment(environments[name], "-m", "pip", "list", "--format=json"))
    installed = {canonicalize_name(package["name"]): package["version"] for package in listed}
    # pip and wheel are conda's; packages that only setuptools or pip need are not pinned.
    assert set(installed) - set(pinned) <= {"pip", "setuptools", "wheel", "packaging"}
    assert {package: installed.get(package) for package in pinned} == pinned
    assert "No broken" in pipeline.in_environment(environments[name], "-m", "pip", "check")


def test_every_environment_runs_jobs(environments, output):
    active = set(re.findall(r"Activating conda environment: (\S+)", output))
    assert {Path(folder).name for folder in active} == {folder.name for folder in environments.values()}
    assert "no environment is active" not in output


def test_every_table_and_figure_is_built(pipeline, output):
    names = {name for name, entry in tables().items() if entry.requires != "released"}
    assert {path.stem for path in (pipeline.results / "tables").glob("*.csv")} == names
    assert {path.stem for path in (pipeline.results / "figures").glob("*.png")} == set(figures())
    accuracy = pd.read_csv(pipeline.results / "tables" / "zeroshot.csv").query("metric == 'accuracy'")
    assert accuracy[accuracy.statistic == "measured"].value.between(0, 1).all()


def test_the_report_is_built(pipeline, output):
    report = pipeline.results / "report.html"
    pipeline.run("all", "--report", report, "--report-stylesheet", "workflow/report/style.css")
    assert "zeroshot.png" in report.read_text()


def test_a_second_run_has_nothing_to_do(pipeline, output):
    assert "Nothing to be done" in pipeline.run("all")
