"""The imports of the source files, read from their syntax trees without importing anything."""

import ast
import sys
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

from tests.helpers.repository import ROOT

PACKAGE_DIR = ROOT / "src" / "cloob"


def module_name(path: Path) -> str:
    """The dotted name of a file below `src/`."""
    parts = path.relative_to(PACKAGE_DIR.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def source_modules() -> dict[str, Path]:
    """All modules of the package, by dotted name."""
    return {module_name(path): path for path in sorted(PACKAGE_DIR.rglob("*.py"))}


def imported_names(path: Path, *, lazy: bool = True) -> Iterator[str]:
    """The dotted names that a file imports; imports in functions and `if TYPE_CHECKING:` only if `lazy`.

    `from a.b import c` gives `a.b.c`, as `c` may be a module.
    """
    nodes: list[ast.AST] = [ast.parse(path.read_text(encoding="utf-8"))]
    while nodes:
        node = nodes.pop()
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif lazy or not _is_skipped_at_import_time(node):
            nodes += ast.iter_child_nodes(node)


def _is_skipped_at_import_time(node: ast.AST) -> bool:
    if isinstance(node, ast.If):
        return isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
    return isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)


@cache
def internal_imports(*, lazy: bool = True) -> dict[str, set[str]]:
    """For every module of the package, the modules of the package that it imports."""
    modules = source_modules()
    graph: dict[str, set[str]] = {}
    for name, path in modules.items():
        graph[name] = set()
        for imported in imported_names(path, lazy=lazy):
            if imported.split(".")[0] == "cloob":
                target = imported if imported in modules else imported.rpartition(".")[0]
                assert target in modules, f"{path} imports {imported}, which does not exist"
                graph[name].add(target)
    return graph


def external_imports(paths: Iterable[Path], *, lazy: bool = True) -> set[str]:
    """The top-level names of the third-party packages that the files import."""
    names: set[str] = set()
    for path in paths:
        # Scripts outside packages may import scripts of the same folder.
        is_script = not (path.parent / "__init__.py").exists()
        siblings = {sibling.stem for sibling in path.parent.glob("*.py")} if is_script else set()
        names |= {name.split(".")[0] for name in imported_names(path, lazy=lazy)} - siblings
    return names - set(sys.stdlib_module_names) - {"benchmarks", "cloob", "tests"}


def import_chain(start: str, target: str) -> list[str] | None:
    """The shortest chain of imports from a module to a module or package `target`, run at import time.

    Importing a module also runs the `__init__` of each of its parent packages.
    """
    modules, graph = source_modules(), internal_imports(lazy=False)
    chains, visited = [[start]], {start}
    while chains:
        chain = chains.pop(0)
        module = chain[-1]
        external = (name for name in imported_names(modules[module], lazy=False))
        if any(name == target or name.startswith(f"{target}.") for name in (module, *external)):
            return [*chain, target]
        parts = module.split(".")
        parents = {".".join(parts[:depth]) for depth in range(1, len(parts))}
        for following in sorted((graph[module] | parents) - visited):
            visited.add(following)
            chains.append([*chain, following])
    return None


def find_cycle(graph: dict[str, set[str]]) -> list[str] | None:
    """A cycle of a directed graph, its first node repeated at its end; None if there is none."""
    finished: set[str] = set()

    def visit(node: str, path: list[str]) -> list[str] | None:
        if node in path:
            return [*path[path.index(node) :], node]
        if node not in finished:
            for successor in sorted(graph.get(node, ())):
                if (cycle := visit(successor, [*path, node])) is not None:
                    return cycle
            finished.add(node)
        return None

    return next((cycle for node in sorted(graph) if (cycle := visit(node, [])) is not None), None)
