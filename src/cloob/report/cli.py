"""`cloob report <verb>`."""

import argparse
import re
from pathlib import Path

from cloob.report.figures_cli import add_figure, add_page


def add_verbs(verbs: argparse._SubParsersAction) -> None:
    """Add the verbs of this stage to the command line."""
    parser = verbs.add_parser(
        "zeroshot",
        help="the zero-shot accuracies as a table",
        description="All results as a long CSV, and the accuracies in the paper's form as Markdown.",
    )
    parser.add_argument("--results", type=Path, nargs="+", required=True, metavar="JSON", help="result files")
    _add_table(parser)
    parser.set_defaults(run=_zeroshot)

    parser = verbs.add_parser(
        "published",
        help="the authors' released checkpoints beside their published numbers",
        description="Zero-shot results of released checkpoints as a table: measured, published, difference.",
    )
    parser.add_argument(
        "--results",
        type=_column_file,
        nargs="+",
        required=True,
        metavar="PRETRAINING/ARCHITECTURE/METHOD/EPOCH=JSON",
        help="result files, each with the column of the paper that it stands against",
    )
    parser.add_argument("--paper", type=Path, required=True, metavar="CSV", help="the paper's results")
    _add_table(parser)
    parser.set_defaults(run=_published)

    parser = verbs.add_parser(
        "books",
        help="where every row of the lists went",
        description="Check that rows in the list = images in the shards + rows refused; write and print it.",
    )
    parser.add_argument(
        "--fates",
        type=_named_file,
        nargs="+",
        required=True,
        metavar="CORPUS/SPLIT/STAGE=CSV",
        help="tables of fates, the stages of a split in their order",
    )
    _add_table(parser)
    parser.set_defaults(run=_books)

    add_figure(verbs)
    add_page(verbs)


def _add_table(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--csv", type=Path, required=True, help="table to write, long form")
    parser.add_argument("--markdown", type=Path, required=True, help="table to write, for reading")
    _add_label(parser)


def _add_label(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--label", default="", help="a sentence for the title: where the numbers come from")


def _named_file(text: str) -> tuple[str, Path]:
    name, found, path = text.partition("=")
    if not (name and found and path):
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form CORPUS/SPLIT/STAGE=CSV")
    return name, Path(path)


def _column_file(text: str) -> tuple[tuple[str, str, str, int], Path]:
    # An architecture may hold a slash (ViT-B/32), the other parts of a column not.
    matched = re.fullmatch(r"([^/=]+)/([^=]+)/([^/=]+)/(\d+)=(.+)", text)
    if matched is None:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not of the form PRETRAINING/ARCHITECTURE/METHOD/EPOCH=JSON"
        )
    pretraining, architecture, method, epoch, path = matched.groups()
    return (pretraining, architecture, method, int(epoch)), Path(path)


def _zeroshot(options: argparse.Namespace) -> None:
    from cloob.report.zeroshot_table import report_zeroshot

    report_zeroshot(options.results, options.csv, options.markdown, options.label)


def _published(options: argparse.Namespace) -> None:
    from cloob.report.published_table import Column, report_published

    results = [(Column(*column), path) for column, path in options.results]
    report_published(results, options.paper, options.csv, options.markdown, options.label)


def _books(options: argparse.Namespace) -> None:
    from cloob.report.books import report_books

    print(report_books(options.fates, options.csv, options.markdown, options.label))
