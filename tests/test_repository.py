"""Files around the package: make targets, CI, pre-commit hooks, package data."""

import fnmatch
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from tests.conftest import INTEGRATION
from tests.helpers.repository import ROOT

MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
TARGETS = set(re.findall(r"^([a-z-]+):(?!=)", MAKEFILE, flags=re.MULTILINE))
GITHUB_FILES = sorted(path for path in (ROOT / ".github").rglob("*.yml"))


def workflow_steps() -> list[dict]:
    content = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8"))
    return [step for job in content["jobs"].values() for step in job["steps"]]


def shell_scripts() -> dict[str, str]:
    """The shell code of the CI workflow and of .ci/run, by name."""
    scripts = {step["name"]: step["run"] for step in workflow_steps() if "run" in step}
    return scripts | {".ci/run": (ROOT / ".ci" / "run").read_text(encoding="utf-8")}


@pytest.mark.parametrize("path", GITHUB_FILES, ids=lambda path: path.name)
def test_github_files_are_yaml_maps(path: Path) -> None:
    assert isinstance(yaml.safe_load(path.read_text(encoding="utf-8")), dict)


def test_ci_lints_tests_and_runs_the_demo() -> None:
    content = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8"))
    assert content["jobs"].keys() == {"lint", "test", "demo"}
    # YAML 1.1 reads the key `on` as true.
    assert content[True].keys() >= {"push", "pull_request"}
    for step in workflow_steps():
        assert ("run" in step) != ("uses" in step)
        assert re.fullmatch(r"[\w.-]+/[\w./-]+@v\d+", step.get("uses", "a/b@v1"))


def test_ci_does_not_rebuild_a_cached_environment() -> None:
    steps = workflow_steps()
    cached = [index for index, step in enumerate(steps) if "cache@" in step.get("uses", "")]
    assert len(cached) == 3
    for index in cached:
        assert steps[index + 1]["if"] == f"steps.{steps[index]['id']}.outputs.cache-hit == 'true'"
        assert steps[index + 1]["run"] == "touch .venv/ready"


@pytest.mark.parametrize("name", shell_scripts())
def test_ci_scripts_are_valid_bash_and_call_existing_targets(name: str) -> None:
    script = shell_scripts()[name]
    # GitHub replaces `${{ … }}` before bash reads the script.
    plain = re.sub(r"\$\{\{.*?\}\}", "value", script)
    done = subprocess.run(["bash", "-n"], input=plain, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert set(re.findall(r"^\s*make ([a-z-]+)", script, flags=re.MULTILINE)) <= TARGETS
    assert all((ROOT / path).is_file() for path in re.findall(r"^(\.ci/\w+)$", script, flags=re.MULTILINE))


def test_make_help_lists_every_documented_target() -> None:
    documented = set(re.findall(r"^([a-z-]+):.*## ", MAKEFILE, flags=re.MULTILINE))
    command = ["make", "--no-print-directory", "help"]
    output = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert {line.split()[0] for line in output.splitlines()} == documented
    assert TARGETS - documented == {"lint-workflow"}


def test_all_targets_without_a_file_are_phony() -> None:
    [phony] = re.findall(r"^\.PHONY: (.*)$", MAKEFILE, flags=re.MULTILINE)
    assert set(phony.split()) == TARGETS


def test_pre_commit_hooks_run_programs_of_the_environment() -> None:
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    programs = {
        hook["entry"].split()[0]
        for repository in config["repos"]
        for hook in repository["hooks"]
        if hook["language"] == "system"
    }
    assert programs
    assert [name for name in programs if not name.startswith(".venv/bin/")] == []
    assert [name for name in programs if not (Path(sys.executable).parent / Path(name).name).exists()] == []


def test_all_data_files_of_the_package_are_installed() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    patterns = project["tool"]["setuptools"]["package-data"]["cloob"]
    package = ROOT / "src" / "cloob"
    files = [
        path.relative_to(package).as_posix()
        for path in package.rglob("*")
        if path.is_file() and path.suffix != ".py" and "__pycache__" not in path.parts
    ]
    assert "py.typed" in files
    uncovered = [
        path
        for path in files
        if not any(fnmatch.fnmatch(path, pattern.removeprefix("**/")) for pattern in patterns)
    ]
    assert uncovered == []


def test_files_of_the_integration_tier_exist() -> None:
    assert [name for name in INTEGRATION if not (ROOT / "tests" / name).is_file()] == []


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_tests_on_gpus_pass_at_their_small_size_on_the_cpu() -> None:
    """No other target runs them without a GPU, so they would not follow changes of what they call."""
    command = [sys.executable, "-m", "pytest", "-m", "gpu and not slow", "tests/gpu"]
    done = subprocess.run(
        [*command, "--ignore=tests/gpu/performance"],
        cwd=ROOT,
        env=os.environ | {"CLOOB_TEST_DEVICE": "cpu"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]


def test_no_file_names_a_package_registry() -> None:
    hosts = re.compile(r"\b(?:files\.)?py(?:pi|thonhosted)\.org\b|\bconda\.anaconda\.org\b")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    paths = [ROOT / name for name in listed.decode().split("\0") if name]
    texts = {path: path.read_bytes().decode("utf-8", "ignore") for path in paths if path.is_file()}
    own = Path(__file__).resolve()
    assert [str(path) for path, text in texts.items() if hosts.search(text) and path != own] == []
