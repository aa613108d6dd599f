"""`cloob report <verb>`."""

import argparse

from cloob.report.corpus_cli import add_corpus_figure, add_corpus_table, add_overlap
from cloob.report.figures_cli import add_figure, add_page
from cloob.report.tables_cli import add_books, add_published, add_table


def add_verbs(verbs: argparse._SubParsersAction) -> None:
    """Add the verbs of this stage to the command line."""
    add_table(verbs)
    add_published(verbs)
    add_books(verbs)
    add_corpus_table(verbs)
    add_overlap(verbs)
    add_figure(verbs)
    add_corpus_figure(verbs)
    add_page(verbs)
