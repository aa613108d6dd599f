"""The registry of tables and figures: complete entries, literal arguments, and no heavy imports."""

import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from cloob.report import registry
from cloob.report.registry import INPUTS, Entry

ENTRIES = [("tables", entry) for entry in registry.tables().values()]
ENTRIES += [("figures", entry) for entry in registry.figures().values()]
CONSTANT = {"tables": "TABLE", "figures": "FIGURE"}


@pytest.mark.parametrize(
    ("package", "entry"), ENTRIES, ids=[f"{package}-{entry.name}" for package, entry in ENTRIES]
)
def test_entry_equals_that_of_its_imported_module_and_is_complete(package: str, entry: Entry) -> None:
    module = import_module(f"cloob.report.{package}.{entry.name}")
    imported = getattr(module, CONSTANT[package])
    assert (imported.category, imported.help, imported.caption) == (entry.category, entry.help, entry.caption)
    assert (imported.inputs, imported.requires) == (entry.inputs, entry.requires)
    assert entry.caption.endswith(".") and "\n" not in entry.caption
    assert entry.help and not entry.help.endswith(".")
    assert entry.inputs and set(entry.inputs) <= set(INPUTS)
    assert entry.requires in registry.REQUIREMENTS
    functions = ["build"] if package == "tables" else ["read", "draw"]
    assert all(callable(getattr(module, function)) for function in functions)


def test_registry_imports_neither_pandas_nor_matplotlib() -> None:
    script = (
        "import sys; from cloob.report import registry; registry.tables(); registry.figures();"
        "assert not {'pandas', 'matplotlib', 'numpy', 'torch', 'jinja2'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("category='A', help=NAME, caption='c.', inputs=()", "malformed node"),
        ("category='A', help='h', inputs=()", "missing 1 required .* 'caption'"),
        ("category='A', help='h', caption='c.', inputs=('surveys',)", "unknown inputs surveys"),
        (
            "category='A', help='h', caption='c.', inputs=(), requires='gpu'",
            "requires='gpu'; known are probe",
        ),
    ],
)
def test_invalid_entry_is_an_error_that_names_the_module(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: str, message: str
) -> None:
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables" / "mine.py").write_text(f'"""Mine."""\n\nTABLE = Entry({arguments})\n')
    monkeypatch.setattr(registry, "__file__", str(tmp_path / "registry.py"))
    with pytest.raises(ValueError, match=rf"tables/mine\.py, line 3: .*{message}"):
        registry.tables.__wrapped__()


@pytest.mark.parametrize("assignment", ["FIGURE=", "FIGURE: Entry = ", "FIGURE  = "])
def test_the_form_of_the_assignment_does_not_matter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, assignment: str
) -> None:
    (tmp_path / "figures").mkdir()
    arguments = "category='A', help='h', caption='c.', inputs=('logs',)"
    (tmp_path / "figures" / "mine.py").write_text(f"{assignment}Entry({arguments})\n")
    monkeypatch.setattr(registry, "__file__", str(tmp_path / "registry.py"))
    assert registry.figures.__wrapped__()["mine"].inputs == ("logs",)


def test_module_without_an_entry_is_not_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "helper.py").write_text("X = 1\n")
    monkeypatch.setattr(registry, "__file__", str(tmp_path / "registry.py"))
    assert registry.figures.__wrapped__() == {}
