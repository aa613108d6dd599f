"""`cloob report table <name>`, `cloob report released` and `cloob report accounting`."""

import argparse
import re
from pathlib import Path

from cloob.common.arguments import name_and_path

# What each table shows, and what it is made from.
TABLES = {
    "zeroshot": "accuracy per test set (zeroshot results)",
    "linear_probe": "accuracy per test set (linear_probe results)",
    "retrieval": "recalls and ranks of held-out pairs (retrieval results)",
    "embedding_structure": "eigenvalues and uniformity of the embeddings (embedding_structure results)",
    "ablation": "the four objectives side by side (results of all protocols, metrics.jsonl of runs)",
    "claims": "the claims of the paper and their verdicts (the same)",
    "throughput": "speed of training (metrics.jsonl of runs)",
    "provenance": "commit, config, data and machine of every run (metrics.jsonl of runs)",
}


def add_table(verbs: argparse._SubParsersAction) -> None:
    """Add the verb `table` to the command line."""
    parser = verbs.add_parser(
        "table",
        help="one table from result files and logs",
        description="Write every number as a long CSV; the table for reading goes beside it as .md and .tex. "
        "With --allow-missing, of what is there: a cell without runs is a dash with a footnote, the files to make.",
        epilog="tables: " + "; ".join(f"{name}: {what}" for name, what in TABLES.items()),
    )
    parser.add_argument("name", choices=TABLES, metavar="NAME", help="which table: see the list below")
    parser.add_argument(
        "--results",
        type=Path,
        nargs="+",
        action="extend",
        required=True,
        metavar="FILE",
        help="result files RUN/epoch_N/PROTOCOL/DATASET.json, logs RUN/metrics.jsonl",
    )
    parser.add_argument("--allow-missing", action="store_true", help="files of --results may be missing")
    parser.add_argument("--paper", type=Path, metavar="CSV", help="the paper's results, to stand beside ours")
    add_output(parser)
    parser.set_defaults(run=_table)


def add_published(verbs: argparse._SubParsersAction) -> None:
    """Add the verb `published` to the command line."""
    parser = verbs.add_parser(
        "released",
        help="the authors' released checkpoints beside their published numbers",
        description="Zero-shot or linear-probe results of released checkpoints as a table: measured, "
        "published, difference.",
    )
    parser.add_argument(
        "--results",
        type=_column_file,
        nargs="+",
        action="extend",
        required=True,
        metavar="PRETRAINING/ARCHITECTURE/METHOD/EPOCH=JSON",
        help="result files, each with the column of the paper that it stands against",
    )
    parser.add_argument("--paper", type=Path, required=True, metavar="CSV", help="the paper's results")
    add_output(parser)
    parser.set_defaults(run=_published)


def add_books(verbs: argparse._SubParsersAction) -> None:
    """Add the verb `books` to the command line."""
    parser = verbs.add_parser(
        "accounting",
        help="where every row of the lists went",
        description="Check that rows in the list = images in the shards + rows refused; write and print it.",
    )
    add_outcomes(parser)
    add_output(parser)
    parser.set_defaults(run=_books)


def add_output(parser: argparse.ArgumentParser) -> None:
    """Where a table goes, and its mark."""
    parser.add_argument(
        "--csv", type=Path, required=True, help="table to write, long form; .md and .tex go beside it"
    )
    add_label(parser)


def add_label(parser: argparse.ArgumentParser) -> None:
    """The mark of a table or figure."""
    parser.add_argument(
        "--title-suffix",
        type=_unescaped,
        default="",
        help=r"a sentence for the title: where the numbers come from; \u0041 is read as in JSON",
    )


def _unescaped(text: str) -> str:
    """Text in which Snakefiles escape what its report and a shell command cannot hold."""
    return re.sub(r"\\u([0-9a-f]{4})", lambda found: chr(int(found[1], 16)), text)


def add_outcomes(parser: argparse.ArgumentParser) -> None:
    """The accounting of every split."""
    parser.add_argument(
        "--outcomes",
        type=name_and_path("CORPUS/SPLIT/STAGE=CSV"),
        nargs="+",
        action="extend",
        required=True,
        metavar="CORPUS/SPLIT/STAGE=CSV",
        help="tables of outcomes, the stages of a split in their order",
    )


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
    from cloob.report.tables.registry import report_table

    report_table(
        options.name, options.results, options.allow_missing, options.paper, options.csv, options.title_suffix
    )


def _published(options: argparse.Namespace) -> None:
    from cloob.report.tables.released import Column, report_published

    results = [(Column(*column), path) for column, path in options.results]
    report_published(results, options.paper, options.csv, options.title_suffix)


def _books(options: argparse.Namespace) -> None:
    from cloob.report.tables.accounting import report_books

    print(report_books(options.outcomes, options.csv, options.title_suffix))
