"""The command line: `cloob STAGE VERB`, which the rules of the workflow call, and commands to use a model."""

import argparse
import gc
import importlib
import os
import sys
from contextlib import suppress
from io import TextIOWrapper
from pathlib import Path
from typing import Any, NoReturn

from cloob.common.arguments import joined_flags, with_argument_files
from cloob.common.errors import InputError, user_message
from cloob.common.interruption import STATUS, Interruption

STAGES = {
    "download": "download the images of URL lists, with complete row accounting",
    "shards": "pack downloaded images into verified webdataset shards with an index",
    "train": "train CLIP, CLOOB or an ablation on shards",
    "tune": "choose recipes from the trials of a hyperparameter search",
    "evaluate": "evaluate checkpoints: zero-shot, linear probe, image-text retrieval, embedding structure",
    "report": "make tables and figures from result files",
    "slurm": "check that the Slurm profile fits the cluster",
    "toy-data": "generate and serve the synthetic toy dataset of the demo and the tests",
}
# Commands that use a trained model: modules of `cloob.inference`.
MODEL_COMMANDS = {
    "classify": "classify images with your own labels",
    "search": "rank the images of a folder by their similarity to a text",
    "export": "write a model as a folder for open_clip and the Hugging Face hub",
}


class _HelpFormatter(argparse.ArgumentDefaultsHelpFormatter):
    """Shows defaults except None, False and empty lists."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        if action.default in (None, [], False):
            return action.help
        return super()._get_help_string(action)


class _Parser(argparse.ArgumentParser):
    def __init__(self, **options: Any) -> None:
        options.setdefault("formatter_class", _HelpFormatter)
        super().__init__(**options)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As in the standard library, whose time is quadratic in the number of flags."""
        lists = {flag for action in self._actions if action.nargs == "+" for flag in action.option_strings}
        return super().parse_known_args(joined_flags(args, lists), namespace)


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run a verb of a stage and exit.

    The status is 0, or after a message of one line 2 for an input or I/O error and 130 for SIGINT.
    """
    gc.set_threshold(10_000)  # Python's default of 700 makes importing torch and open_clip a quarter slower
    arguments = sys.argv[1:] if arguments is None else arguments
    _open_closed_streams()
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # file names need not be UTF-8
    with Interruption("cloob") as interruption:
        try:
            options = _parse(arguments, interruption)
            options.run(options)
            sys.stdout.flush()
            sys.exit(0)
        except Exception as error:
            message = user_message(error)
            if message is None and not interruption.received:
                raise
        except KeyboardInterrupt:
            interruption.received = True
        if interruption.received:
            interruption.report()
        else:
            with suppress(OSError):  # the program that read stderr has exited
                print(f"{interruption.command}: error: {message}", file=sys.stderr)
        _discard_unwritten_output()
        sys.exit(STATUS if interruption.received else 2)


def _parse(arguments: list[str], interruption: Interruption) -> argparse.Namespace:
    """The options of a verb. Exits with status 2 and a message if the arguments are invalid."""
    parser = _Parser(
        prog="cloob",
        description="Reproduce the CLOOB paper, stage by stage, and use its models. An argument @FILE is "
        "replaced by the arguments in FILE, each ended by a NUL byte: more of them fit into a file than on a "
        "command line.",
    )
    try:
        arguments = with_argument_files(arguments)
    except (InputError, OSError) as error:
        parser.error(str(user_message(error)))
    stages = parser.add_subparsers(dest="stage", required=True, metavar="STAGE", parser_class=_Parser)
    for name, summary in (STAGES | MODEL_COMMANDS).items():
        stage = stages.add_parser(name, help=summary, description=summary)
        # Only the requested stage is imported: every stage has its own conda environment.
        if name in arguments[:1]:
            module = importlib.import_module(module_of(name))
            if hasattr(module, "add_verbs"):
                verbs = stage.add_subparsers(dest="verb", required=True, metavar="VERB", parser_class=_Parser)
                module.add_verbs(verbs)
            else:
                module.add_arguments(stage)
    options = argparse.Namespace(arguments=arguments)
    parser.parse_args(arguments, options)
    interruption.command = " ".join(["cloob", options.stage, *filter(None, [getattr(options, "verb", None)])])
    if options.stage != "report":  # it opens files itself, also those that Arrow reads
        _check_utf8(arguments)
    return options


def module_of(name: str) -> str:
    """The module with the command line of a stage or command."""
    return f"cloob.inference.{name}" if name in MODEL_COMMANDS else f"cloob.{name.replace('-', '_')}.cli"


def _check_utf8(arguments: list[str]) -> None:
    """Reject paths that Arrow cannot open; names of files below them may be arbitrary bytes."""
    for argument in arguments:
        try:
            argument.encode("utf-8")
        except UnicodeEncodeError:
            raise InputError(f"{argument!r}: not UTF-8; rename it or use another path") from None


def _open_closed_streams() -> None:
    """Connect standard streams that are closed (`2>&-`) with /dev/null.

    A file opened later would get the free descriptor, and with it the warnings that libraries print.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            stream = Path(os.devnull).open(mode)  # noqa: SIM115
            os.set_inheritable(stream.fileno(), True)
            setattr(sys, name, stream)


def _discard_unwritten_output() -> None:
    """Avoid a second flush at exit, which fails with a traceback on a full disk or a closed pipe."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
