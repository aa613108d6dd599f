"""`cloob report corpus-table`, `cloob report corpus-figure` and `cloob report overlap`."""

import argparse
import re
from pathlib import Path

from cloob.report.tables_cli import add_label, add_outcomes, add_output


def add_corpus_table(verbs: argparse._SubParsersAction) -> None:
    """Add the verb `corpus-table` to the command line."""
    parser = verbs.add_parser(
        "corpus-table",
        help="the corpora in numbers",
        description="What became of each list, against the paper's; sizes, shapes, captions, duplicates.",
    )
    _add_corpora(parser)
    add_output(parser)
    parser.set_defaults(run=_corpus_table)


def add_corpus_figure(verbs: argparse._SubParsersAction) -> None:
    """Add the verb `corpus-figure` to the command line."""
    parser = verbs.add_parser(
        "corpus-figure",
        help="a figure of sizes, shapes, captions and losses",
        description="Histograms of each split's pairs and the losses of its list, as .png, .svg and .pdf; "
        "the points drawn go beside them as .csv.",
    )
    _add_corpora(parser)
    parser.add_argument("--png", type=Path, required=True, help="figure to write; other forms lie beside it")
    add_label(parser)
    parser.set_defaults(run=_corpus_figure)


def add_overlap(verbs: argparse._SubParsersAction) -> None:
    """Add the verb `overlap` to the command line."""
    parser = verbs.add_parser(
        "overlap",
        help="test images that are in the training corpora",
        description="How many images of each test set are near-duplicates of training images, by corpus.",
    )
    parser.add_argument(
        "--results",
        type=Path,
        nargs="+",
        action="extend",
        required=True,
        metavar="JSON",
        help="result files of `cloob evaluate overlap`",
    )
    add_output(parser)
    parser.set_defaults(run=_overlap)


def _add_corpora(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--shards",
        type=_split_file,
        nargs="+",
        action="extend",
        required=True,
        metavar="CORPUS/SPLIT=JSON",
        help="shards.json of each split",
    )
    add_outcomes(parser)


def _split_file(text: str) -> tuple[tuple[str, str], Path]:
    matched = re.fullmatch(r"([^/=]+)/([^/=]+)=(.+)", text)
    if matched is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form CORPUS/SPLIT=JSON")
    corpus, split, path = matched.groups()
    return (corpus, split), Path(path)


def _corpus_table(options: argparse.Namespace) -> None:
    from cloob.report.tables.corpus import report_corpora

    print(report_corpora(options.shards, options.outcomes, options.csv, options.title_suffix))


def _corpus_figure(options: argparse.Namespace) -> None:
    from cloob.report.figures.corpus import report_corpus_figure

    report_corpus_figure(options.shards, options.outcomes, options.png, options.title_suffix)


def _overlap(options: argparse.Namespace) -> None:
    from cloob.report.tables.overlap import report_overlap

    print(report_overlap(options.results, options.csv, options.title_suffix))
