"""`cloob report figure <name>` and `cloob report html`."""

import argparse
from importlib import import_module
from pathlib import Path

from cloob.report.tables_cli import add_label

# What each figure shows, and what it is made from.
FIGURES = {
    "ajne": "Ajne's uniformity score of the embeddings (embedding_structure results; paper's results)",
    "effective_eigenvalues": "their relative increase, bars (embedding_structure results; paper's results)",
    "effective_eigenvalues_epochs": "the same over epochs, a curve (embedding_structure results)",
    "outcomes": "what became of every row of the lists (summary.csv of each corpus)",
    "pipeline": "the stages and their rules (the Snakefile and the rule files)",
    "predictions": "test images and what they were taken for (predictions of one run)",
    "saturation": "the factor 1 - p of InfoNCE's gradient while training (metrics.jsonl of runs)",
    "similarities": "of matched and unmatched pairs (embedding_structure results)",
    "spectra": "covariance spectra of the embeddings (embedding_structure results)",
    "throughput": "pairs per second and waiting for data (metrics.jsonl of runs)",
    "training_curves": "losses, validation recalls, learning rate (metrics.jsonl of runs)",
    "zeroshot": "accuracy per test set, with intervals (zeroshot results)",
}


def add_figure(verbs: argparse._SubParsersAction) -> None:
    """Add the verb `figure` to the command line."""
    parser = verbs.add_parser(
        "figure",
        help="one figure from result files",
        description="Draw a figure as .png, .svg and .pdf; the data behind it goes beside it as .csv.",
        epilog="figures: " + "; ".join(f"{name}: {what}" for name, what in FIGURES.items()),
    )
    parser.add_argument("name", choices=FIGURES, metavar="NAME", help="which figure: see the list below")
    parser.add_argument(
        "--inputs",
        type=Path,
        nargs="+",
        action="extend",
        required=True,
        metavar="FILE",
        help="what it is made from",
    )
    parser.add_argument(
        "--png", type=Path, required=True, help="figure to write; the other forms lie beside it"
    )
    add_label(parser)
    parser.set_defaults(run=_figure)


def add_page(verbs: argparse._SubParsersAction) -> None:
    """Add the verb `page` to the command line."""
    parser = verbs.add_parser(
        "html",
        help="a table as a page of the HTML report",
        description="Write a table's Markdown as one HTML file that needs nothing else.",
    )
    parser.add_argument("--markdown", type=Path, required=True, help="table to read")
    parser.add_argument("--html", type=Path, required=True, help="page to write")
    parser.set_defaults(run=_page)


def _figure(options: argparse.Namespace) -> None:
    from cloob.report.render.style import save_figure, styled

    module = import_module(f"cloob.report.figures.{options.name}")
    data = module.read(options.inputs)
    with styled():
        save_figure(module.draw(data, options.title_suffix), data, options.png, options.inputs)


def _page(options: argparse.Namespace) -> None:
    from cloob.report.render.html import report_page

    report_page(options.markdown, options.html)
