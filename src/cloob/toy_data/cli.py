"""`cloob toy-data generate` and `cloob toy-data serve`."""

import argparse
import sys
from pathlib import Path
from typing import Any

from cloob.common.arguments import non_negative_int, positive_int
from cloob.toy_data.layout import FORMATS

_GENERATE = "generate the toy dataset: two corpora with the defects of real ones, and eight test sets"
_SERVE = """Serve the images of the toy dataset on the loopback port `toy_data.port` of a config while COMMAND
runs, and exit with its status: `cloob toy-data serve --config config/demo.yaml -- snakemake …`."""


def add_verbs(verbs: Any) -> None:
    """Add the verbs `generate` and `serve`."""
    _add_generate(verbs)
    _add_serve(verbs)


def _add_generate(verbs: Any) -> None:
    parser = verbs.add_parser("generate", help=_GENERATE, description=_GENERATE)
    parser.add_argument(
        "--out", type=Path, required=True, help="output folder; an older toy dataset there is replaced"
    )
    parser.add_argument(
        "--seed", type=non_negative_int, required=True, help="seed of all random choices of the dataset"
    )
    parser.add_argument(
        "--port",
        type=positive_int,
        required=True,
        help="port of `cloob toy-data serve`, used in the image URLs",
    )
    parser.add_argument(
        "--cc3m-train", type=positive_int, required=True, help="rows of the CC3M training URL list"
    )
    parser.add_argument(
        "--cc3m-validation", type=positive_int, required=True, help="rows of the CC3M validation URL list"
    )
    parser.add_argument("--yfcc15m", type=positive_int, required=True, help="rows of the YFCC15M subset list")
    parser.add_argument(
        "--testset-train-per-class", type=non_negative_int, required=True, help="training images per class"
    )
    parser.add_argument(
        "--testset-test-per-class", type=positive_int, required=True, help="test images per class"
    )
    parser.add_argument(
        "--format",
        choices=FORMATS,
        default=FORMATS[0],
        help="corpora as URL lists with a web server for their images, or only the pairs of CC3M that can be "
        "downloaded, as webdataset tars",
    )
    parser.add_argument("--processes", type=positive_int, default=2, help="rendering processes")
    parser.set_defaults(run=_generate)


def _add_serve(verbs: Any) -> None:
    parser = verbs.add_parser(
        "serve", help="serve the images of the toy dataset while a command runs", description=_SERVE
    )
    parser.add_argument(
        "--config", type=Path, required=True, help="config with the keys `results` and `toy_data.port`"
    )
    parser.add_argument(
        "command", nargs="+", metavar="COMMAND", help="the command and its arguments, after `--`"
    )
    parser.set_defaults(run=_serve)


def _generate(options: argparse.Namespace) -> None:
    from cloob.toy_data.build import Sizes, build

    sizes = Sizes(
        options.cc3m_train,
        options.cc3m_validation,
        options.yfcc15m,
        options.testset_train_per_class,
        options.testset_test_per_class,
    )
    build(options.out, options.seed, sizes, options.port, options.processes, options.format)


def _serve(options: argparse.Namespace) -> None:
    from cloob.toy_data.serve import serve

    sys.exit(serve(options.config, options.command))
