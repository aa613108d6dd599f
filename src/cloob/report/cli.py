"""`cloob report table NAME`, `cloob report figure NAME`, `cloob report html` and `cloob report check`."""

import argparse
import re
import sys
import textwrap
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from cloob.common.arguments import name_and_path, name_and_value
from cloob.report.registry import INPUTS, Entry, figures, tables

if TYPE_CHECKING:
    from cloob.report.load.inputs import Inputs


def add_verbs(verbs: argparse._SubParsersAction) -> None:
    """Add the verbs of this stage to the command line."""
    table = verbs.add_parser(
        "table",
        help="make a table from result files, logs or row accounting",
        description="Write all numbers of a table as a long CSV, and the formatted table beside it as .md\n"
        "and .tex. With --allow-missing, cells without results show a dash, and a footnote\n"
        "names the files to build.",
        epilog=_list_entries("tables", tables()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    table.add_argument("name", choices=tables(), metavar="NAME", help="name of the table, listed below")
    _add_inputs(table, tables().values())
    table.add_argument(
        "--allow-missing", action="store_true", help="accept --results files that do not exist yet"
    )
    table.add_argument("--csv", type=Path, required=True, help="output; .md and .tex are written beside it")
    table.set_defaults(run=_table)

    figure = verbs.add_parser(
        "figure",
        help="draw a figure from result files, logs or row accounting",
        description="Write a figure as .png, .svg and .pdf, with its data beside it as .csv.",
        epilog=_list_entries("figures", figures()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    figure.add_argument("name", choices=figures(), metavar="NAME", help="name of the figure, listed below")
    _add_inputs(figure, figures().values())
    figure.add_argument(
        "--png", type=Path, required=True, help="output; the other formats are written beside it"
    )
    figure.set_defaults(run=_figure, allow_missing=False)

    compact = verbs.add_parser(
        "compact-log",
        help="convert the log of a run to Parquet",
        description="Check the log of a run, and write the numbers that tables and figures read to a Parquet "
        "file: a row per step, and all other events in its metadata.",
    )
    compact.add_argument("--log", type=Path, required=True, help="metrics.jsonl of a run")
    compact.add_argument("--out", type=Path, required=True, help="output, metrics.parquet beside it")
    compact.set_defaults(run=_compact_log)

    html = verbs.add_parser(
        "html",
        help="convert a table to HTML",
        description="Convert the Markdown of a table to a self-contained HTML page.",
    )
    html.add_argument("--markdown", type=Path, required=True, help="Markdown file of a table")
    html.add_argument("--html", type=Path, required=True, help="output")
    html.set_defaults(run=_html)

    check = verbs.add_parser(
        "check",
        help="open the report in Chromium and find what a reader could not read",
        description="Open report.html and the tables of a results folder in Chromium, as wide as a laptop, a "
        "large screen and a phone. Prints what is wider than the window, missing images, and errors of "
        "scripts; exits with 1 if there are any.",
    )
    check.add_argument("results", type=Path, help="folder with report.html and tables/")
    check.set_defaults(run=_check)


def _list_entries(kind: str, entries: dict[str, Entry]) -> str:
    """The names with their help and inputs, an indented paragraph each."""
    paragraphs = [
        textwrap.fill(
            f"{name}: {entry.help} (from {', '.join(entry.inputs)})",
            width=88,
            initial_indent="  ",
            subsequent_indent="      ",
        )
        for name, entry in entries.items()
    ]
    return "\n".join([f"{kind}:", *paragraphs])


def _add_inputs(parser: argparse.ArgumentParser, entries: Iterable[Entry]) -> None:
    """Add a flag for each kind of input of the entries, and the flags of the labels."""
    used = {name for entry in entries for name in entry.inputs}
    flags: dict[str, list[str]] = {}
    for name in INPUTS:
        if name in used:
            flags.setdefault(INPUTS[name].flag, []).append(name)
    for flag, names in flags.items():
        key = INPUTS[names[0]].key
        many = {} if flag == "paper" else {"nargs": "+", "action": "extend", "default": []}
        parser.add_argument(
            f"--{flag}",
            type=_FILES.get(flag, Path),
            metavar=f"{key}=FILE" if key else "FILE",
            help="; ".join(INPUTS[name].help for name in names),
            **many,  # type: ignore[arg-type]
        )
    parser.add_argument(
        "--title-suffix",
        type=_unescape,
        default="",
        help=r"text appended to every title, for example to mark toy data; with any text, the paper's "
        r"numbers are left out; \uXXXX escapes are decoded",
    )
    parser.add_argument(
        "--corpus-title",
        type=_corpus_title,
        action="append",
        default=[],
        metavar="CORPUS=TITLE",
        help="display name of a corpus; may be repeated",
    )


def _unescape(text: str) -> str:
    """Decode the escapes of characters that a shell command or an HTML report of Snakemake cannot contain."""
    return re.sub(r"\\u([0-9a-f]{4})", lambda match: chr(int(match[1], 16)), text)


def _corpus_title(text: str) -> tuple[str, str]:
    corpus, title = name_and_value("CORPUS=TITLE")(text)
    return corpus, _unescape(title)


def _split_file(text: str) -> tuple[tuple[str, str], Path]:
    form = "CORPUS/SPLIT=FILE"
    name, path = name_and_path(form)(text)
    corpus, _, split = name.partition("/")
    if not (corpus and split) or "/" in split:
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form {form}")
    return (corpus, split), path


def _column_file(text: str) -> tuple[tuple[str, str, str, int | str], Path]:
    # Only the architecture may contain a slash (ViT-B/32).
    match = re.fullmatch(r"([^/=]+)/([^=]+)/([^/=]+)/(\d+|final)=(.+)", text)
    if match is None:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not of the form PRETRAINING/ARCHITECTURE/METHOD/EPOCH=FILE"
        )
    pretraining, architecture, method, epoch, path = match.groups()
    return (pretraining, architecture, method, int(epoch) if epoch.isdecimal() else epoch), Path(path)


def _baseline_file(text: str) -> tuple[tuple[str, str, str, int | str], str, Path]:
    match = re.fullmatch(r"([^=]+?/(?:\d+|final))(?:/([A-Za-z0-9_.]+))?=(.+)", text)
    if match is None:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not of the form PRETRAINING/ARCHITECTURE/METHOD/EPOCH[/CORPUS]=FILE"
        )
    model, path = _column_file(f"{match[1]}={match[3]}")
    return model, match[2] or "", path


# Parsers of the flags whose values have the form KEY=FILE.
_FILES: dict[str, Callable[[str], object]] = {
    "released": _column_file,
    "baselines": _baseline_file,
    "outcomes": name_and_path("CORPUS/SPLIT/STAGE=FILE"),
    "manifests": _split_file,
}


def _inputs(options: argparse.Namespace) -> "Inputs":
    from cloob.report.load.inputs import Baseline, Inputs
    from cloob.report.load.paper import PaperColumn
    from cloob.report.load.targets import current_logs
    from cloob.report.names import Labels

    files = {flag: getattr(options, flag) for flag in _flags() if hasattr(options, flag)}
    files["results"] = current_logs(files.get("results", []), options.allow_missing)
    files["released"] = [(PaperColumn(*column), path) for column, path in files.get("released", [])]
    files["baselines"] = [
        Baseline(PaperColumn(*column), corpus, path) for column, corpus, path in files.get("baselines", [])
    ]
    labels = Labels(options.title_suffix, dict(options.corpus_title))
    return Inputs(**files, allow_missing=options.allow_missing, labels=labels)


def _flags() -> set[str]:
    return {entry.flag for entry in INPUTS.values()}


def _table(options: argparse.Namespace) -> None:
    from cloob.report.make import make_table

    print(make_table(options.name, _inputs(options), options.csv))


def _figure(options: argparse.Namespace) -> None:
    from cloob.report.make import make_figure

    make_figure(options.name, _inputs(options), options.png)


def _compact_log(options: argparse.Namespace) -> None:
    from cloob.report.load.compact_logs import compact_log

    compact_log(options.log, options.out)


def _html(options: argparse.Namespace) -> None:
    from cloob.report.render.html import convert_to_html

    convert_to_html(options.markdown, options.html)


def _check(options: argparse.Namespace) -> None:
    from cloob.report.check.pages import check_results

    problems = check_results(options.results)
    for problem in problems:
        print(problem)
    if problems:
        count = f"{len(problems)} {'problem' if len(problems) == 1 else 'problems'}"
        print(f"{count} in the report of {options.results}")
        sys.exit(1)
    print(f"{options.results}/report.html and its tables fit every window")
