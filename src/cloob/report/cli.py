"""`cloob report <verb>`."""

import argparse
import re
from pathlib import Path

# Names of tables, in the order of the paper: see cloob.report.tables.
TABLES = (
    "zeroshot",
    "linear_probe",
    "retrieval",
    "embedding_structure",
    "ablation",
    "claims",
    "throughput",
    "provenance",
)


def add_verbs(verbs: argparse._SubParsersAction) -> None:
    """Add the verbs of this stage to the command line."""
    parser = verbs.add_parser(
        "table",
        help="a table of the paper, of result files and logs",
        description="Make one of the paper's tables: every number as a long CSV, and for reading as "
        "Markdown and as LaTeX beside it. With --partial, of what is there: a cell without runs is a dash, "
        "with a footnote that names the files to make.",
    )
    parser.add_argument("name", choices=TABLES, help="which table")
    parser.add_argument(
        "--results",
        type=Path,
        nargs="+",
        required=True,
        metavar="FILE",
        help="result files RUN/epoch_N/PROTOCOL/DATASET.json, logs RUN/metrics.jsonl",
    )
    parser.add_argument("--partial", action="store_true", help="files of --results may be missing")
    parser.add_argument("--paper", type=Path, metavar="CSV", help="the paper's results, to stand beside ours")
    _add_table(parser)
    parser.set_defaults(run=_table)

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

    parser = verbs.add_parser(
        "training-curves",
        help="a figure of losses and validation recalls",
        description="Loss and validation R@1 over epochs; the points drawn go beside the PNG as CSV.",
    )
    parser.add_argument(
        "--metrics", type=Path, nargs="+", required=True, metavar="JSONL", help="logs of runs"
    )
    _add_figure(parser)
    parser.set_defaults(run=_training_curves)

    parser = verbs.add_parser(
        "zeroshot-figure",
        help="a figure of the zero-shot accuracies",
        description="Zero-shot accuracy per test set and objective; the data goes beside the PNG as CSV.",
    )
    parser.add_argument(
        "--table", type=Path, required=True, metavar="CSV", help="of `cloob report table zeroshot`"
    )
    _add_figure(parser)
    parser.set_defaults(run=_zeroshot_figure)


def _add_table(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--csv", type=Path, required=True, help="table to write, long form; .md and .tex go beside it"
    )
    _add_label(parser)


def _add_figure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--png", type=Path, required=True, help="figure to write, for screens")
    parser.add_argument("--pdf", type=Path, required=True, help="figure to write, for print")
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


def _table(options: argparse.Namespace) -> None:
    from cloob.report.tables import report_table

    report_table(options.name, options.results, options.partial, options.paper, options.csv, options.label)


def _published(options: argparse.Namespace) -> None:
    from cloob.report.published_table import Column, report_published

    results = [(Column(*column), path) for column, path in options.results]
    report_published(results, options.paper, options.csv, options.label)


def _books(options: argparse.Namespace) -> None:
    from cloob.report.books import report_books

    print(report_books(options.fates, options.csv, options.label))


def _training_curves(options: argparse.Namespace) -> None:
    from cloob.report.curves import report_training_curves

    report_training_curves(options.metrics, options.png, options.pdf, options.label)


def _zeroshot_figure(options: argparse.Namespace) -> None:
    from cloob.report.zeroshot_figure import report_zeroshot_figure

    report_zeroshot_figure(options.table, options.png, options.pdf, options.label)
