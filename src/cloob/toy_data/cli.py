"""`cloob toy-data generate` and `cloob toy-data serve`."""

import argparse
import sys
from pathlib import Path
from typing import Any

from cloob.common.arguments import non_negative_int, positive_int

_BUILD = "paint the small world: two corpora with the faults of real ones, and eight test sets"
_SERVE = """Serve the world's pictures on the loopback port `world.port` of a config as long as COMMAND runs,
and end with its exit status: `cloob toy-data serve --config config/demo.yaml -- snakemake …`."""


def add_verbs(verbs: Any) -> None:
    """Add this stage's verbs to the command line."""
    _add_build(verbs)
    _add_serve(verbs)


def _add_build(verbs: Any) -> None:
    parser = verbs.add_parser("generate", help=_BUILD, description=_BUILD)
    parser.add_argument(
        "--out", type=Path, required=True, help="folder of the world; an older world there is replaced"
    )
    parser.add_argument(
        "--seed", type=non_negative_int, required=True, help="the whole world is a function of it"
    )
    parser.add_argument(
        "--port",
        type=positive_int,
        required=True,
        help="port of `cloob toy-data serve`, to which the links point",
    )
    parser.add_argument(
        "--cc3m-train", type=positive_int, required=True, help="rows of Conceptual Captions' training list"
    )
    parser.add_argument(
        "--cc3m-validation", type=positive_int, required=True, help="rows of its validation list"
    )
    parser.add_argument("--yfcc15m", type=positive_int, required=True, help="rows of the YFCC subset list")
    parser.add_argument(
        "--testset-train-per-class", type=non_negative_int, required=True, help="training images per class"
    )
    parser.add_argument(
        "--testset-test-per-class", type=positive_int, required=True, help="test images per class"
    )
    parser.add_argument("--processes", type=positive_int, default=2, help="processes that paint")
    parser.set_defaults(run=_build)


def _add_serve(verbs: Any) -> None:
    parser = verbs.add_parser(
        "serve", help="serve the world's pictures while a command runs", description=_SERVE
    )
    parser.add_argument(
        "--config", type=Path, required=True, help="config with the keys `results` and `world.port`"
    )
    parser.add_argument(
        "command", nargs="+", metavar="COMMAND", help="the command and its arguments, after `--`"
    )
    parser.set_defaults(run=_serve)


def _build(options: argparse.Namespace) -> None:
    from cloob.toy_data.build import Sizes, build

    sizes = Sizes(
        options.cc3m_train,
        options.cc3m_validation,
        options.yfcc15m,
        options.testset_train_per_class,
        options.testset_test_per_class,
    )
    build(options.out, options.seed, sizes, options.port, options.processes)


def _serve(options: argparse.Namespace) -> None:
    from cloob.toy_data.serve import serve

    sys.exit(serve(options.config, options.command))
