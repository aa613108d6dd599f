"""`pyproject.toml` declares exactly the third-party packages that the sources import."""

import re
import tomllib
from importlib.metadata import packages_distributions

from tests.helpers.import_graph import external_imports
from tests.helpers.repository import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
# Declared, but run as programs or imported by other packages.
PROGRAMS = {
    "snakemake",  # runs the workflow
    "snakemake-executor-plugin-slurm",  # loaded by `snakemake --profile slurm`
    "pygments",  # imported by `snakemake --report`
    "tensorboard",  # imported by torch.utils.tensorboard
}
# Runs in an environment of its own, which benchmarks/clip_benchmark_parity.py creates.
ELSEWHERE = ROOT / "benchmarks" / "clip_benchmark_run.py"
DEVELOPMENT_PROGRAMS = {"mypy", "pytest-timeout", "pytest-xdist", "ruff", "snakefmt"}


def normalized(requirement: str) -> str:
    """The name of a requirement, as PEP 503 normalizes it."""
    name = re.match(r"[\w.-]+", requirement)
    assert name is not None, requirement
    return re.sub(r"[-_.]+", "-", name[0]).lower()


def distributions_of(modules: set[str]) -> dict[str, set[str]]:
    """The distributions that provide each of the imported modules."""
    provided = packages_distributions()
    return {module: {normalized(name) for name in provided.get(module, [])} for module in modules}


def undeclared(imported: dict[str, set[str]], declared: set[str]) -> set[str]:
    return {module for module, distributions in imported.items() if not distributions & declared}


def test_imports_of_the_package_and_the_rules_are_declared_and_nothing_else_is() -> None:
    extras = {normalized(name) for name in PROJECT["optional-dependencies"]["wandb"]}
    declared = {normalized(requirement) for requirement in PROJECT["dependencies"]} | extras
    imported = distributions_of(external_imports((ROOT / "src").rglob("*.py")))
    assert undeclared(imported, declared) == set()
    unused = declared - PROGRAMS - set().union(*imported.values())
    assert unused == set()


def test_imports_of_tests_and_benchmarks_are_declared_and_nothing_else_is() -> None:
    runtime = {normalized(requirement) for requirement in PROJECT["dependencies"]}
    development = {normalized(name) for name in PROJECT["optional-dependencies"]["dev"]}
    paths = [
        path for folder in ("tests", "benchmarks", "envs", "docs") for path in (ROOT / folder).rglob("*.py")
    ]
    imported = distributions_of(external_imports(path for path in paths if path != ELSEWHERE))
    assert undeclared(imported, runtime | development) == set()
    assert development - DEVELOPMENT_PROGRAMS - set().union(*imported.values()) == set()
