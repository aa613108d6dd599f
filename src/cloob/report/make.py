"""Make one table or figure from its inputs: `cloob report table` and `cloob report figure`."""

from dataclasses import replace
from importlib import import_module
from pathlib import Path

from cloob.common.errors import InputError
from cloob.report.load.inputs import Inputs
from cloob.report.sources import write_sources


def make_table(name: str, inputs: Inputs, csv: Path) -> str:
    """Write a table as .csv, .md, .tex and .sources.json; returns its Markdown. Raises `InputError`."""
    from cloob.report.render.document import to_markdown, write_document

    inputs = _without_paper_for_toy_dataset(inputs)
    document, long = import_module(f"cloob.report.tables.{name}").build(inputs)
    is_incomplete = inputs.allow_missing and not all(path.is_file() for path in inputs.results)
    if not document.sections and not is_incomplete:
        raise InputError(f"no input file belongs to the table {name}; see `cloob report table --help`")
    suffix = inputs.labels.title_suffix
    outputs = write_document(document, long, suffix, csv)
    write_sources(outputs, inputs.files(), packages=["pandas", "scipy"])
    return to_markdown(document, suffix)


def make_figure(name: str, inputs: Inputs, png: Path) -> None:
    """Write a figure as .png, .svg, .pdf, .csv and .sources.json. Raises `InputError`."""
    from cloob.report.render.style import figure_style, save_figure

    inputs = _without_paper_for_toy_dataset(inputs)
    module = import_module(f"cloob.report.figures.{name}")
    data = module.read(inputs)
    with figure_style():
        save_figure(module.draw(data, inputs.labels), data, png, inputs.files())


def _without_paper_for_toy_dataset(inputs: Inputs) -> Inputs:
    """Drop the paper for runs with a title suffix (the toy dataset), but not for released checkpoints."""
    return replace(inputs, paper=None) if inputs.labels.title_suffix and not inputs.released else inputs
