"""Every rule's conda env is a cut out of the one lock."""

import re
import subprocess

import pytest
import yaml
from rattler import MatchSpec

from tests.helpers.repository import ROOT

ENVS = sorted((ROOT / "envs").glob("*.yaml"))
LOCK = dict(
    re.findall(r"^([\w.-]+)==([\w.+!-]+)", (ROOT / "envs" / "lock.txt").read_text(), flags=re.MULTILINE)
)


def pins(env):
    pip = next(entry for entry in yaml.safe_load(env.read_text())["dependencies"] if isinstance(entry, dict))
    return dict(pin.split("==") for pin in pip["pip"])


@pytest.mark.parametrize("env", ENVS, ids=lambda path: path.stem)
def test_every_pin_of_an_env_is_the_locks(env):
    assert pins(env)
    assert {name: LOCK.get(name) for name in pins(env)} == pins(env)


def test_an_env_holds_only_what_its_stage_needs():
    held = {env.stem: set(pins(env)) for env in ENVS}
    assert {"torch", "img2dataset"}.isdisjoint(
        held["lists"] | held["shards"] | held["tables"] | held["figures"]
    )
    assert {"img2dataset", "snakemake"}.isdisjoint(held["train"] | held["evaluate"])
    assert "torch" in held["train"] & held["evaluate"]
    assert "matplotlib" not in held["tables"]


def test_every_rule_names_an_env_that_exists_and_every_env_serves_a_rule():
    used = set()
    for rules in (ROOT / "workflow" / "rules").glob("*.smk"):
        used |= set(re.findall(r'"\.\./\.\./envs/(\w+)\.yaml"', rules.read_text()))
    assert used == {env.stem for env in ENVS}


def test_the_image_is_of_the_envs_python():
    definition = (ROOT / "envs" / "cloob.def").read_text()
    [version] = {
        spec.removeprefix("python=")
        for env in ENVS
        for spec in yaml.safe_load(env.read_text())["dependencies"]
        if isinstance(spec, str) and spec.startswith("python=")
    }
    assert f"From: python:{version}-slim" in definition
    assert "untested" in definition


def test_the_lock_names_no_host():
    assert "://" not in (ROOT / "envs" / "lock.txt").read_text()


def rules_of(env):
    """(stage, verb) of all rules that run in an env."""
    found = set()
    for rules in (ROOT / "workflow" / "rules").glob("*.smk"):
        for rule in re.split(r"^rule ", rules.read_text(), flags=re.MULTILINE)[1:]:
            if f"/envs/{env.stem}.yaml" in rule:
                found |= set(re.findall(r"cloob ([a-z]+) ([a-z-]+) ", rule))
    return sorted(found)


@pytest.mark.parametrize("env", ENVS, ids=lambda path: path.stem)
def test_conda_understands_every_spec(env):
    for spec in yaml.safe_load(env.read_text())["dependencies"]:
        if isinstance(spec, str):
            assert MatchSpec(spec, strict=True).name is not None


# Imports what the function of a verb imports, which is all that its stage imports lazily.
IMPORTS = """
import argparse, importlib, inspect, re, sys
stage, verb = sys.argv[1:]
cli = importlib.import_module(f"cloob.{stage}.cli")
verbs = argparse.ArgumentParser().add_subparsers()
cli.add_verbs(verbs)
imported = re.findall(r"^ +from (cloob[\\w.]*) import", inspect.getsource(cli), flags=re.MULTILINE)
function = verbs.choices[verb].get_default("run")
own = re.findall(r"^ +from (cloob[\\w.]*) import", inspect.getsource(function), flags=re.MULTILINE)
if stage == "report" and verb in ("table", "figure"):  # whose modules are imported by name
    from cloob.report import registry
    own += [f"cloob.report.{verb}s.{name}" for name in getattr(registry, f"{verb}s")()]
    own.append(f"cloob.report.render.{'document' if verb == 'table' else 'style'}")
for module in own or imported:
    importlib.import_module(module)
print(stage, verb, *(own or imported))
"""


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("env", ENVS, ids=lambda path: path.stem)
def test_the_pins_of_an_env_alone_are_enough_for_its_rules(env, tmp_path):
    assert rules_of(env)
    python = tmp_path / "env" / "bin" / "python"
    subprocess.run(["uv", "venv", "--quiet", "--python", "3.11", tmp_path / "env"], check=True)
    wanted = [f"{name}=={version}" for name, version in pins(env).items()]
    subprocess.run(["uv", "pip", "install", "--quiet", "--no-deps", "--python", python, *wanted], check=True)
    there = subprocess.run(
        ["uv", "pip", "freeze", "--python", python], capture_output=True, text=True, check=True
    ).stdout.split()
    assert dict(line.lower().split("==") for line in there) == {k.lower(): v for k, v in pins(env).items()}
    clean = {"PATH": f"{python.parent}:/usr/bin:/bin", "PYTHONPATH": str(ROOT / "src"), "HOME": str(tmp_path)}
    for stage, verb in rules_of(env):
        for command in (["-m", "cloob", stage, verb, "--help"], ["-c", IMPORTS, stage, verb]):
            done = subprocess.run(
                [python, *command], env=clean, capture_output=True, text=True, check=False, cwd=tmp_path
            )
            assert done.returncode == 0, done.stderr
