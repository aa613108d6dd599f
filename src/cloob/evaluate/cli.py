"""`cloob evaluate <verb>`."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from cloob.common.arguments import non_negative_int, positive_int
from cloob.common.errors import InputError

if TYPE_CHECKING:
    from cloob.evaluate.features.extractor import FeatureExtractor
    from cloob.evaluate.testsets.spec import Description


def add_verbs(verbs: argparse._SubParsersAction) -> None:
    """Add the verbs of this stage to the command line."""
    zeroshot = verbs.add_parser(
        "zeroshot",
        help="classify test sets without training, by the similarity of images and prompts",
        description="Zero-shot accuracies of one checkpoint on one or more test sets: one JSON file per set. "
        "A file that is there of the same checkpoint and data is left as it is.",
    )
    add_checkpoint(zeroshot)
    add_testsets(zeroshot)
    zeroshot.add_argument(
        "--predictions-dir",
        type=Path,
        metavar="DIR",
        help="writes DIR/<dataset>.json too: some images of each set with their five best classes",
    )
    zeroshot.set_defaults(run=_zeroshot)

    # These import this module.
    from cloob.evaluate.linear_probe_cli import add_linear_probe
    from cloob.evaluate.overlap_cli import add_overlap

    add_linear_probe(verbs)
    add_overlap(verbs)

    captioned = verbs.add_parser(
        "image-text",
        help="retrieval and the structure of the embeddings, on captioned images",
        description="How well images and captions find each other, and how their embeddings fill the sphere: "
        "two JSON files per set of captioned images. A file that is there of the same checkpoint and data is "
        "left as it is.",
    )
    add_checkpoint(captioned)
    captioned.add_argument(
        "--pairs",
        type=_name_and_path,
        nargs="+",
        action="extend",
        required=True,
        metavar="NAME=shards.json",
        help="captioned images, by a name for the files",
    )
    captioned.add_argument(
        "--title", nargs="+", action="extend", required=True, help="of each of the pairs, for tables"
    )
    captioned.add_argument(
        "--retrieval-dir", type=Path, required=True, metavar="DIR", help="writes DIR/NAME.json"
    )
    captioned.add_argument(
        "--structure-dir", type=Path, required=True, metavar="DIR", help="writes DIR/NAME.json"
    )
    captioned.set_defaults(run=_captioned)

    testset = verbs.add_parser(
        "prepare-testset",
        help="a test set from where it is handed out to class folders, checked",
        description="Fetch a test set as its description says, or read official files that are there, and "
        "bring it into class folders. These come into being only if images and classes are as expected.",
    )
    testset.add_argument("--spec", type=Path, required=True, metavar="YAML", help="of the test set")
    testset.add_argument(
        "--source",
        choices=("processed", "official"),
        required=True,
        help="which of the description's sources",
    )
    testset.add_argument(
        "--local-files",
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
        "--workers",
        type=non_negative_int,
        default=0,
        metavar="N",
        help="processes that decode videos (UCF101)",
    )
    testset.set_defaults(run=_prepare)


def add_testsets(verb: argparse.ArgumentParser, also: str = "") -> None:
    """Add the test sets that a protocol is made on, and where its result files go."""
    verb.add_argument(
        "--testset",
        type=testset_and_folder,
        nargs="+",
        action="extend",
        required=True,
        metavar="DESCRIPTION.yaml=FOLDER",
        help=f"test sets: the description of each and the folder it lies in{also}",
    )
    verb.add_argument("--out-dir", type=Path, required=True, metavar="DIR", help="writes DIR/<dataset>.json")


def add_checkpoint(verb: argparse.ArgumentParser) -> None:
    """Add what every protocol asks for: the checkpoint, and how its features are computed."""
    verb.add_argument(
        "--checkpoint",
        required=True,
        metavar="PT",
        help="checkpoint of `cloob train` or of the authors, or a model of open_clip: NAME:TAG, NAME:FILE",
    )
    verb.add_argument(
        "--feature-cache",
        type=Path,
        required=True,
        metavar="DIR",
        help="features are kept here and taken from here, by the content of checkpoint and data",
    )
    verb.add_argument(
        "--batch-size", type=positive_int, default=256, metavar="N", help="images per forward pass"
    )
    verb.add_argument(
        "--precision",
        choices=("float32", "bfloat16"),
        default="float32",
        help="of the encoders; float32 is without TF32",
    )
    verb.add_argument(
        "--device",
        choices=("auto", "cpu", "cuda"),
        default="auto",
        help="where to compute; all GPUs take part",
    )
    verb.add_argument(
        "--workers",
        type=non_negative_int,
        default=0,
        metavar="N",
        help="processes that decode images; 0 decodes in this one",
    )


def extractor_of(options: argparse.Namespace) -> "FeatureExtractor":
    """The checkpoint of `add_checkpoint`'s options, loaded."""
    from cloob.evaluate.features.extractor import FeatureExtractor

    return FeatureExtractor(
        options.checkpoint,
        options.feature_cache,
        options.batch_size,
        options.workers,
        options.device,
        options.precision,
    )


def testset_and_folder(text: str) -> tuple[Path, Path]:
    """`DESCRIPTION=FOLDER` -> both paths; the description ends where it names a file, or at the first `=`."""
    parts = text.split("=")
    pairs = [("=".join(parts[:end]), "=".join(parts[end:])) for end in range(1, len(parts))]
    pairs = [(description, folder) for description, folder in pairs if description and folder]
    if not pairs:
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form DESCRIPTION.yaml=FOLDER")
    described = [pair for pair in pairs if Path(pair[0]).is_file()]
    description, folder = (described or pairs)[0]
    return Path(description), Path(folder)


def described(testsets: list[tuple[Path, Path]]) -> list[tuple["Description", Path]]:
    """The descriptions read, each with its folder. Raises `InputError`, also where a set is given twice."""
    from cloob.evaluate.testsets.spec import load_spec

    read = [(load_spec(description), folder) for description, folder in testsets]
    names = [description.name for description, _ in read]
    if len(set(names)) != len(names):
        raise InputError(
            f"--testset: a name is given twice among {', '.join(names)}; give each test set once"
        )
    return read


def _zeroshot(options: argparse.Namespace) -> None:
    testsets = described(options.testset)  # before the import that takes seconds
    from cloob.evaluate.protocols.zeroshot import evaluate_zeroshot

    evaluate_zeroshot(extractor_of(options), testsets, options.out_dir, options.predictions_dir)


def _name_and_path(text: str) -> tuple[str, Path]:
    name, found, path = text.partition("=")
    if not (name and found and path):
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form NAME=shards.json")
    return name, Path(path)


def _captioned(options: argparse.Namespace) -> None:
    if len(options.title) != len(options.pairs):
        raise InputError(
            f"--title: {len(options.title)} titles of {len(options.pairs)} --pairs; give each one"
        )
    names = [name for name, _ in options.pairs]
    if len(set(names)) != len(names):
        raise InputError(f"--pairs: a name is given twice among {', '.join(names)}; give each set once")
    from cloob.evaluate.protocols.image_text import evaluate_image_text

    captioned = [
        (name, title, path) for (name, path), title in zip(options.pairs, options.title, strict=True)
    ]
    evaluate_image_text(extractor_of(options), captioned, options.retrieval_dir, options.structure_dir)


def _prepare(options: argparse.Namespace) -> None:
    from cloob.evaluate.testsets.prepare import prepare
    from cloob.evaluate.testsets.spec import load_spec

    description = load_spec(options.spec)
    prepare(description, options.source, options.archives, options.out, options.local_files, options.workers)
