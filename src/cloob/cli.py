"""The command `cloob <stage> <verb>`: every rule of the pipeline is one call of it."""

import argparse
import importlib
import signal
import sys
from typing import NoReturn

from cloob.errors import InputError

STAGES = {
    "download": "lists of captions and links -> images with captions, every row accounted for",
    "shards": "downloads -> verified webdataset shards with an index",
    "train": "shards -> checkpoints of CLOOB, CLIP and the ablations",
    "evaluate": "checkpoints, test sets -> one small result file per (run, epoch, dataset, protocol)",
    "report": "result files -> tables and figures",
    "cluster": "does the cluster profile fit this cluster?",
    "world": "the small world that the demo and the tests run on",
}


# What a path may be instead of what was named.
_OF_PATHS = (IsADirectoryError, NotADirectoryError, FileExistsError, PermissionError)


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
    """Run one verb of one stage; exits 0, or 2 with one line on bad input."""
    arguments = sys.argv[1:] if arguments is None else arguments
    parser = _Parser(prog="cloob", description="The CLOOB paper, stage by stage.")
    stages = parser.add_subparsers(dest="stage", required=True, metavar="STAGE", parser_class=_Parser)
    for name, purpose in STAGES.items():
        stage = stages.add_parser(name, help=purpose, description=purpose)
        # Only the stage that is asked for is imported: each runs in an environment of its own.
        if name in arguments[:1]:
            verbs = stage.add_subparsers(dest="verb", required=True, metavar="VERB", parser_class=_Parser)
            importlib.import_module(f"cloob.{name}.cli").add_verbs(verbs)
    options = parser.parse_args(arguments, argparse.Namespace(arguments=arguments))
    try:
        options.run(options)
        sys.exit(0)
    except InputError as error:
        said = str(error)
    except _OF_PATHS as error:
        if error.filename is None:
            raise
        said = f"{error.filename}: {error.strerror}; name another"
    except KeyboardInterrupt:
        print(f"cloob {options.stage} {options.verb}: interrupted", file=sys.stderr)
        sys.exit(128 + signal.SIGINT)
    print(f"cloob {options.stage} {options.verb}: error: {said}", file=sys.stderr)
    sys.exit(2)
