"""The layers of the package: which part may import which (docs/architecture.md)."""

import pytest

from tests.helpers.import_graph import (
    find_cycle,
    import_chain,
    imported_names,
    internal_imports,
    source_modules,
)

# In the order of the data flow: a stage imports only earlier ones.
STAGES = ("download", "shards", "train", "tune", "evaluate")
LIBRARIES = ("common", "objectives", "models", "metrics", "images")
# The parts of the package that each part may import besides itself. A new part needs an entry.
ALLOWED = {
    "common": set(),
    "images": {"common"},
    "objectives": {"common"},
    "models": {"common", "images"},
    "metrics": {"common", "objectives"},
    **{stage: {*LIBRARIES, *STAGES[:position]} for position, stage in enumerate(STAGES)},
    "report": {"common", "objectives", "images"},
    "inference": {"common", "images", "models", "objectives", "evaluate", "report"},
    "slurm": {"common"},
    "toy_data": {"common"},
    "workflow": {
        *("common", "objectives", "models", "download", "shards", "train", "evaluate", "report", "toy_data")
    },
}


def part_of(module: str) -> str:
    return module.split(".")[1]


MODULES_IN_PARTS = [name for name, path in source_modules().items() if path.parent.name != "cloob"]


@pytest.mark.parametrize(
    "package", sorted(name for name, path in source_modules().items() if path.name == "__init__.py")
)
def test_modules_and_subpackages_of_a_package_do_not_import_each_other_in_a_cycle(package: str) -> None:
    """Without a cycle among the children of any package there is none among all modules."""
    depth = package.count(".") + 2
    inside = f"{package}."
    children: dict[str, set[str]] = {}
    for module, imported in internal_imports().items():
        if module.startswith(inside):
            child = ".".join(module.split(".")[:depth])
            targets = {".".join(name.split(".")[:depth]) for name in imported if name.startswith(inside)}
            children.setdefault(child, set()).update(targets - {child})
    assert find_cycle(children) is None


@pytest.mark.parametrize("part", sorted({part_of(module) for module in MODULES_IN_PARTS}))
def test_each_part_imports_only_what_its_layer_allows(part: str) -> None:
    violations = [
        f"{module} imports {name}"
        for module in MODULES_IN_PARTS
        if part_of(module) == part
        for name in sorted(internal_imports()[module])
        if name != "cloob" and part_of(name) not in {part, *ALLOWED[part]}
    ]
    assert not violations


@pytest.mark.parametrize(
    "module", [name for name in MODULES_IN_PARTS if part_of(name) in ("report", "workflow")]
)
def test_report_and_workflow_run_without_torch(module: str) -> None:
    assert import_chain(module, "torch") is None


def test_report_never_imports_torch_lazily() -> None:
    violations = [
        f"{module} imports {name}"
        for module in MODULES_IN_PARTS
        if part_of(module) == "report"
        for name in imported_names(source_modules()[module])
        if name.split(".")[0] in ("torch", "torchvision", "open_clip")
    ]
    assert not violations


def test_nothing_imports_snakemake() -> None:
    violations = [
        module
        for module, path in source_modules().items()
        if any(name.split(".")[0].startswith("snakemake") for name in imported_names(path))
    ]
    assert not violations


@pytest.mark.parametrize(
    "name", ["cloob.cli", "cloob.objectives.registry", "cloob.download.corpora.registry"]
)
def test_modules_that_the_command_line_always_loads_are_free_of_torch(name: str) -> None:
    assert import_chain(name, "torch") is None


def test_a_cycle_is_found() -> None:
    assert find_cycle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]
    assert find_cycle({"a": {"b", "c"}, "b": {"c"}, "c": set()}) is None
