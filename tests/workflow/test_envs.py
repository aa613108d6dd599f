"""Every rule's conda env is a cut out of the one lock."""

import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
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


def test_the_lock_names_no_host():
    assert "://" not in (ROOT / "envs" / "lock.txt").read_text()
