"""The config of the pipeline as Snakemake reads it, checked without running Snakemake."""

import copy
from functools import cache
from typing import Any

import yaml
from snakemake.utils import update_config

from cloob.workflow.checks import check_config
from tests.helpers.repository import ROOT


@cache
def _read(name: str) -> Any:
    return yaml.safe_load((ROOT / name).read_text())


SCHEMA = _read("workflow/schemas/config.schema.yaml")


def config_from(*names: str, **changes: Any) -> dict[str, Any]:
    """The default config, overridden by config files (`demo.yaml`) and then by single keys; not checked."""
    config: dict[str, Any] = copy.deepcopy(_read("config/config.yaml"))
    for name in names:
        update_config(config, copy.deepcopy(_read(f"config/{name}")))
    update_config(config, copy.deepcopy(changes))
    return config


def checked_config(*names: str, **changes: Any) -> dict[str, Any]:
    """The same after a successful check, which normalizes it."""
    config = config_from(*names, **changes)
    problems = check_config(config, SCHEMA)
    assert problems == []
    return config


def config_problems(*names: str, **changes: Any) -> list[str]:
    """The problems that the check of the config reports."""
    return check_config(config_from(*names, **changes), SCHEMA)
