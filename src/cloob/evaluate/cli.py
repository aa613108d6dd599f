"""`cloob evaluate <verb>`."""

import argparse
from pathlib import Path

from cloob.arguments import count, positive


def add_verbs(verbs: argparse._SubParsersAction) -> None:
    """Add the verbs of this stage to the command line."""
    parser = verbs.add_parser(
        "zeroshot",
        help="classify test sets without training, by the similarity of images and prompts",
        description="Zero-shot accuracies of one checkpoint on one or more test sets: one JSON file per set.",
    )
    parser.add_argument(
        "--checkpoint", type=Path, required=True, metavar="PT", help="checkpoint of `cloob train`"
    )
    parser.add_argument(
        "--testset",
        type=_testset,
        nargs="+",
        action="extend",
        required=True,
        metavar="DESCRIPTION.yaml=FOLDER",
        help="test sets: the description of each and the folder it lies in",
    )
    parser.add_argument(
        "--out-dir", type=Path, required=True, metavar="DIR", help="writes DIR/<dataset>.json"
    )
    parser.add_argument(
        "--batch-size", type=positive, default=256, metavar="N", help="images per forward pass"
    )
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="where to compute")
    parser.add_argument(
        "--workers",
        type=count,
        default=0,
        metavar="N",
        help="processes that decode images; 0 decodes in this one",
    )
    parser.set_defaults(run=_zeroshot)


def _testset(text: str) -> tuple[Path, Path]:
    description, found, folder = text.partition(".yaml=")
    if not (description and found and folder):
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form DESCRIPTION.yaml=FOLDER")
    return Path(f"{description}.yaml"), Path(folder)


def _zeroshot(options: argparse.Namespace) -> None:
    from cloob.evaluate.testset import load_description

    testsets = [(load_description(description), folder) for description, folder in options.testset]
    from cloob.evaluate.zeroshot import evaluate_checkpoint

    evaluate_checkpoint(
        options.checkpoint, testsets, options.out_dir, options.batch_size, options.device, options.workers
    )
