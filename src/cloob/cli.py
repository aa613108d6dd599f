"""The command `cloob <stage> <verb>`: every rule of the pipeline is one call of it."""

import argparse
import importlib
import os
import signal
import sys
from io import TextIOWrapper
from typing import NoReturn

from cloob.common.errors import InputError, user_message

STAGES = {
    "download": "lists of captions and links -> images with captions, every row accounted for",
    "shards": "downloads -> verified webdataset shards with an index",
    "train": "shards -> checkpoints of CLOOB, CLIP and the ablations",
    "evaluate": "checkpoints, test sets -> one small result file per (run, epoch, dataset, protocol)",
    "report": "result files -> tables and figures",
    "slurm": "check that the cluster profile fits this cluster",
    "toy-data": "the synthetic toy dataset that the demo and the tests run on",
}


class _Help(argparse.ArgumentDefaultsHelpFormatter):
    """Shows defaults, but not those that say nothing."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        if action.default in (None, [], False):
            return action.help
        return super()._get_help_string(action)


class _Parser(argparse.ArgumentParser):
    def __init__(self, **options: object) -> None:
        options.setdefault("formatter_class", _Help)
        super().__init__(**options)  # type: ignore[arg-type]


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run one verb of one stage; exits 0, or 2 with one line on bad input and on I/O errors."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # names of files need not be UTF-8
    parser = _Parser(prog="cloob", description="The CLOOB paper, stage by stage.")
    stages = parser.add_subparsers(dest="stage", required=True, metavar="STAGE", parser_class=_Parser)
    for name, purpose in STAGES.items():
        stage = stages.add_parser(name, help=purpose, description=purpose)
        # Only the requested stage is imported: each runs in an environment of its own.
        if name in arguments[:1]:
            module = importlib.import_module(f"cloob.{name.replace('-', '_')}.cli")
            if hasattr(module, "add_verbs"):
                options = {"dest": "verb", "required": True, "metavar": "VERB", "parser_class": _Parser}
                module.add_verbs(stage.add_subparsers(**options))
            else:
                module.add_arguments(stage)
    options = parser.parse_args(arguments, argparse.Namespace(arguments=arguments))
    command = " ".join(["cloob", options.stage, *filter(None, [getattr(options, "verb", None)])])
    try:
        if options.stage != "report":  # which reads and writes with Python alone
            _check_utf8(arguments)
        options.run(options)
        sys.stdout.flush()
        sys.exit(0)
    except Exception as error:
        said = user_message(error)
        if said is None:
            raise
    except KeyboardInterrupt:
        print(f"{command}: interrupted", file=sys.stderr)
        _drop_unwritten_output()
        sys.exit(128 + signal.SIGINT)
    print(f"{command}: error: {said}", file=sys.stderr)
    _drop_unwritten_output()
    sys.exit(2)


def _check_utf8(arguments: list[str]) -> None:
    """Refuse paths that Arrow cannot open; the names of files below them may be of any bytes."""
    for argument in arguments:
        try:
            argument.encode("utf-8")
        except UnicodeEncodeError:
            raise InputError(f"{argument!r}: not UTF-8; rename it, or name another") from None


def _drop_unwritten_output() -> None:
    """Python would try again at its exit, and print a traceback: into a full disk, or a closed pipe."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
