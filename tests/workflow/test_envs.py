"""Every conda environment contains what its rules import, at the versions of the one lock."""

import argparse
import importlib
import inspect
import re
import subprocess
from functools import cache
from importlib.metadata import distributions, packages_distributions
from types import SimpleNamespace

import pytest
import yaml
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from rattler import MatchSpec

from cloob.cli import module_of
from cloob.download.corpora.registry import READERS
from tests.helpers import conda_channel
from tests.helpers.import_graph import external_imports, internal_imports, source_modules
from tests.helpers.repository import ROOT

ENVS = sorted((ROOT / "envs").glob("*.yaml"))
LOCK = dict(
    re.findall(r"^([\w.-]+)==([\w.+!-]+)", (ROOT / "envs" / "lock.txt").read_text(), flags=re.MULTILINE)
)


def pins(env):
    pip = next(entry for entry in yaml.safe_load(env.read_text())["dependencies"] if isinstance(entry, dict))
    return dict(pin.split("==") for pin in pip["pip"])


def rules_of(env):
    """(stage, verb) of the commands of all rules that run in an environment."""
    commands = set()
    for rules in (ROOT / "workflow" / "rules").glob("*.smk"):
        for rule in re.split(r"^(?:use )?rule ", rules.read_text(), flags=re.MULTILINE)[1:]:
            if f"/envs/{env.stem}.yaml" in rule:
                # `train` has no verb.
                commands |= set(re.findall(r"cloob ([a-z-]+) ([a-z-]*)", rule))
    return sorted((stage, "" if verb.startswith("-") else verb) for stage, verb in commands)


@cache
def imported_modules(stage, verb):
    """The modules of the package that a command imports, directly and indirectly."""
    name = module_of(stage)
    cli = importlib.import_module(name)
    parser = argparse.ArgumentParser()
    if verb:
        verbs = parser.add_subparsers()
        cli.add_verbs(verbs)
        function = verbs.choices[verb].get_default("run")
    else:
        cli.add_arguments(parser)
        function = parser.get_default("run")
    # Modules that the function imports lazily; helpers of the same file may do so for it.
    pattern = r"^ +from (cloob[\w.]*) import"
    lazy = re.findall(pattern, inspect.getsource(function), flags=re.MULTILINE)
    pending = {name, *(lazy or re.findall(pattern, inspect.getsource(cli), flags=re.MULTILINE))}
    if stage == "report" and verb in ("table", "figure"):  # imported by name
        pending |= {module for module in source_modules() if module.startswith(f"cloob.report.{verb}s.")}
    if (stage, verb) == ("download", "urls"):
        pending |= {f"cloob.download.corpora.{reader}" for reader in READERS}
    modules = set()
    while pending:
        module = pending.pop()
        modules.add(module)
        pending |= internal_imports(lazy=False)[module] - modules
    return modules


@pytest.mark.parametrize("env", ENVS, ids=lambda path: path.stem)
def test_pins_are_those_of_the_lock(env):
    assert pins(env)
    assert {name: LOCK.get(name) for name in pins(env)} == pins(env)


@pytest.mark.parametrize("env", ENVS, ids=lambda path: path.stem)
def test_pins_cover_the_imports_of_the_rules(env):
    """Imports at module level; the slow test below runs them in the environment."""
    assert rules_of(env)
    pinned = {re.sub(r"[-_.]+", "-", name).lower() for name in pins(env)}
    provided = packages_distributions()
    for stage, verb in rules_of(env):
        paths = [source_modules()[module] for module in imported_modules(stage, verb)]
        missing = {
            package
            for package in external_imports(paths, lazy=False)
            if not {re.sub(r"[-_.]+", "-", name).lower() for name in provided[package]} & pinned
        }
        assert missing == set(), f"cloob {stage} {verb}"


def test_environments_contain_only_what_their_rules_need():
    packages = {env.stem: set(pins(env)) for env in ENVS}
    without_torch = ("urls", "tables", "figures")
    assert {"torch", "img2dataset"}.isdisjoint(set().union(*(packages[name] for name in without_torch)))
    assert {"img2dataset", "snakemake"}.isdisjoint(packages["train"] | packages["evaluate"])
    assert "torch" in packages["train"] & packages["evaluate"]
    assert "matplotlib" not in packages["tables"]


def test_every_rule_has_an_existing_environment_and_every_environment_is_used():
    used = set()
    for rules in (ROOT / "workflow" / "rules").glob("*.smk"):
        used |= set(re.findall(r'"\.\./\.\./envs/(\w+)\.yaml"', rules.read_text()))
    assert used == {env.stem for env in ENVS}


@pytest.mark.parametrize("env", ENVS, ids=lambda path: path.stem)
def test_the_first_line_of_an_environment_names_its_rules(env):
    named = env.read_text().splitlines()[0].partition(": ")[2].split(", ")
    rules = set()
    for path in (ROOT / "workflow" / "rules").glob("*.smk"):
        for rule in re.split(r"^rule ", path.read_text(), flags=re.MULTILINE)[1:]:
            if f"/envs/{env.stem}.yaml" in rule:
                rules.add(rule.partition(":")[0])
    assert set(named) == rules - {"user_inputs"}  # which only prints


def test_the_conda_test_needs_the_python_version_of_the_environments(monkeypatch):
    """On another one it is skipped; building the channel would fail."""
    monkeypatch.setattr(conda_channel, "sys", SimpleNamespace(version_info=(3, 12, 1)))
    assert conda_channel.base_interpreter_problem() == "envs/ need Python 3.11, this is 3.12"


def test_the_container_has_the_python_version_of_the_environments():
    definition = (ROOT / "envs" / "cloob.def").read_text()
    [version] = {
        spec.removeprefix("python=")
        for env in ENVS
        for spec in yaml.safe_load(env.read_text())["dependencies"]
        if isinstance(spec, str) and spec.startswith("python=")
    }
    assert f"From: python:{version}-slim" in definition
    assert "untested" in definition


def test_pip_accepts_every_locked_version_on_every_python_of_the_project():
    """Unlike uv, pip respects upper limits of `Requires-Python`, and pip fills conda environments."""
    locked = [found for found in distributions() if LOCK.get(canonicalize_name(found.name)) == found.version]
    assert len(locked) > 0.9 * len(LOCK)
    for found in locked:
        accepted = SpecifierSet(found.metadata["Requires-Python"] or "")
        assert {"3.11.0", "3.12.0"} <= set(accepted.filter(["3.11.0", "3.12.0"])), found.name


def test_the_lock_contains_no_url():
    assert "://" not in (ROOT / "envs" / "lock.txt").read_text()


@pytest.mark.parametrize("env", ENVS, ids=lambda path: path.stem)
def test_conda_can_parse_every_spec(env):
    for spec in yaml.safe_load(env.read_text())["dependencies"]:
        if isinstance(spec, str):
            assert MatchSpec(spec, strict=True).name is not None


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("env", ENVS, ids=lambda path: path.stem)
def test_rules_can_be_imported_in_their_environment(env, tmp_path):
    python = tmp_path / "env" / "bin" / "python"
    subprocess.run(["uv", "venv", "--quiet", "--python", "3.11", tmp_path / "env"], check=True)
    requirements = [f"{name}=={version}" for name, version in pins(env).items()]
    install = ["uv", "pip", "install", "--quiet", "--no-deps", "--python", python]
    subprocess.run([*install, *requirements], check=True)
    installed = subprocess.run(
        ["uv", "pip", "freeze", "--python", python], capture_output=True, text=True, check=True
    ).stdout.split()
    expected = {name.lower(): version for name, version in pins(env).items()}
    assert dict(line.lower().split("==") for line in installed) == expected
    clean = {"PATH": f"{python.parent}:/usr/bin:/bin", "PYTHONPATH": str(ROOT / "src"), "HOME": str(tmp_path)}
    for stage, verb in rules_of(env):
        imports = "\n".join(f"import {module}" for module in sorted(imported_modules(stage, verb)))
        for command in (["-m", "cloob", *filter(None, (stage, verb)), "--help"], ["-c", imports]):
            done = subprocess.run(
                [python, *command], env=clean, capture_output=True, text=True, check=False, cwd=tmp_path
            )
            assert done.returncode == 0, done.stderr
