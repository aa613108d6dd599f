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

    testset = verbs.add_parser(
        "testset",
        help="a test set from where it is handed out to class folders, checked",
        description="Fetch a test set as its description says, or read official files that are there, and "
        "bring it into class folders. These come into being only if images and classes are as expected.",
    )
    testset.add_argument("--description", type=Path, required=True, metavar="YAML", help="of the test set")
    testset.add_argument(
        "--source",
        choices=("processed", "official"),
        required=True,
        help="which of the description's sources",
    )
    testset.add_argument(
        "--original",
        type=Path,
        metavar="DIR",
        help="official files, in the layout of the source; not fetched",
    )
    testset.add_argument(
        "--archives",
        type=Path,
        required=True,
        metavar="DIR",
        help="what is fetched stays here, whole or in part",
    )
    testset.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to make")
    testset.add_argument(
        "--workers", type=count, default=0, metavar="N", help="processes that decode videos (UCF101)"
    )
    testset.set_defaults(run=_prepare)


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


def _prepare(options: argparse.Namespace) -> None:
    from cloob.evaluate.prepare import prepare
    from cloob.evaluate.testset import load_description

    description = load_description(options.description)
    prepare(description, options.source, options.archives, options.out, options.original, options.workers)
