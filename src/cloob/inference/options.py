"""What the commands that use a model share: the option `--model`, and output as a table or JSON."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cloob.common.errors import InputError

if TYPE_CHECKING:
    from cloob.models.interface import ImageTextModel

# The runs of the default configuration, of the demo and of the ablation.
_RUNS = ("results/train/*/final.pt", "results/*/train/*/final.pt")


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """Add `--model`, `--device` and `--json`."""
    parser.add_argument(
        "--model",
        metavar="MODEL",
        help="run (results/train/RUN or its final.pt), name of a released model, folder in open_clip's "
        "format, or open_clip model (RN50:yfcc15m); default: the newest final.pt below results/",
    )
    parser.add_argument(
        "--device", choices=("auto", "cpu", "cuda"), default="auto", help="auto uses a GPU if there is one"
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")


def load_chosen_model(options: argparse.Namespace) -> tuple[str, "ImageTextModel"]:
    """The source and the model of `--model` and `--device`. Raises `InputError`."""
    source = options.model or _newest_run()
    if not options.model:
        print(f"model: {source}", file=sys.stderr)
    import torch

    from cloob.models.load import load_model

    if options.device == "cuda" and not torch.cuda.is_available():
        raise InputError("--device cuda: torch detects no GPU; use --device cpu or auto")
    use_gpu = options.device != "cpu" and torch.cuda.is_available()
    return source, load_model(source, "cuda" if use_gpu else "cpu")


def _newest_run() -> str:
    checkpoints = [path for pattern in _RUNS for path in Path().glob(pattern)]
    if not checkpoints:
        raise InputError(
            "--model: there is no trained run below results/; give a checkpoint, a folder in open_clip's "
            "format, or an open_clip model such as RN50:yfcc15m"
        )
    return str(max(checkpoints, key=lambda path: path.stat().st_mtime))


def print_json(content: Any) -> None:
    """Print JSON; bytes of file names that are not UTF-8 become escape sequences."""
    print(json.dumps(content, indent=2))


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print left-aligned columns with a header, without control characters."""
    lines = [[_printable(cell) for cell in row] for row in (header, *rows)]
    widths = [max(len(row[column]) for row in lines) for column in range(len(header))]
    for row in lines:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else repr(character)[1:-1] for character in text)
