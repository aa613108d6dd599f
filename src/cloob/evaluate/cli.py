"""`cloob evaluate <verb>`: the evaluation protocols."""

import argparse
from pathlib import Path

from cloob.common.arguments import (
    fraction,
    name_and_path,
    name_and_value,
    non_negative_int,
    positive_float,
    positive_int,
)
from cloob.common.errors import InputError
from cloob.evaluate.cli_data import add_data_verbs
from cloob.evaluate.cli_options import (
    add_checkpoint,
    add_testsets,
    check_distinct,
    check_folders_differ,
    load_extractor,
    load_specs,
)

_UP_TO_DATE = "Result files that are up to date (same checkpoint, data and settings) are not recomputed."


def add_verbs(verbs: argparse._SubParsersAction) -> None:
    """Add the verbs of this stage to the command line."""
    add_data_verbs(verbs)
    _add_zeroshot(verbs)
    _add_linear_probe(verbs)
    _add_image_text(verbs)
    _add_overlap(verbs)


def _add_zeroshot(verbs: argparse._SubParsersAction) -> None:
    verb = verbs.add_parser(
        "zeroshot",
        help="zero-shot classification of test sets",
        description="Measure the zero-shot classification accuracy of one checkpoint on one or more test "
        f"sets; writes one JSON file per test set. {_UP_TO_DATE}",
    )
    add_checkpoint(verb)
    add_testsets(verb)
    verb.add_argument(
        "--predictions-dir",
        type=Path,
        metavar="DIR",
        help="also write DIR/<dataset>.json: example images with their top-5 classes",
    )
    verb.set_defaults(run=_zeroshot)


def _add_linear_probe(verbs: argparse._SubParsersAction) -> None:
    verb = verbs.add_parser(
        "linear-probe",
        help="logistic regression on frozen image features of test sets with training images",
        description="Fit CLIP's linear probe for one checkpoint on one or more test sets: select the L2 "
        "strength on validation images, then refit on training and validation images. Writes one JSON file "
        f"per test set. {_UP_TO_DATE}",
    )
    add_checkpoint(verb)
    add_testsets(verb, note=", which must have training images")
    verb.add_argument(
        "--probe-train-set",
        type=name_and_value("NAME=NAME"),
        nargs="+",
        action="extend",
        default=[],
        metavar="NAME=NAME",
        help="test sets that use the training images of another test set, such as imagenetv2=imagenet",
    )
    verb.add_argument(
        "--features",
        choices=("after_projection", "before_projection"),
        nargs="+",
        action="extend",
        required=True,
        help="image features to probe; the first is the main result in tables",
    )
    for name, meaning in (("min", "weakest"), ("max", "strongest")):
        verb.add_argument(
            f"--l2-{name}",
            type=positive_float,
            required=True,
            metavar="L",
            help=f"{meaning} L2 strength of the sweep (1 / C in scikit-learn)",
        )
    verb.add_argument(
        "--l2-num", type=positive_int, required=True, metavar="N", help="number of L2 strengths, log-spaced"
    )
    verb.add_argument(
        "--val-fraction",
        type=fraction,
        required=True,
        metavar="F",
        help="fraction of each class's training images used for validation, if a test set has no validation "
        "images",
    )
    verb.add_argument("--seed", type=non_negative_int, required=True, help="seed of the validation split")
    verb.add_argument(
        "--keep-train-features",
        action="store_true",
        help="keep the cached features of the training images (ImageNet: 16 GB per checkpoint) for further "
        "probes of the same checkpoint",
    )
    verb.set_defaults(run=_linear_probe)


def _add_image_text(verbs: argparse._SubParsersAction) -> None:
    verb = verbs.add_parser(
        "image-text",
        help="image-text retrieval and embedding structure on captioned images",
        description="Measure image-text retrieval and the structure of the embeddings on captioned images; "
        f"writes two JSON files per retrieval set. {_UP_TO_DATE}",
    )
    add_checkpoint(verb)
    verb.add_argument(
        "--pairs",
        type=name_and_path("NAME=PATH"),
        nargs="+",
        action="extend",
        required=True,
        metavar="NAME=PATH",
        help="retrieval sets: the name of the output files, and a shards.json of packed shards, the JSON of "
        "Karpathy's splits, or a folder in CLIP_benchmark's webdataset layout",
    )
    verb.add_argument(
        "--images",
        type=name_and_path("NAME=DIR"),
        nargs="+",
        action="extend",
        default=[],
        metavar="NAME=DIR",
        help="folder of the images of Karpathy's JSON (default: the folder of the JSON)",
    )
    verb.add_argument(
        "--split",
        type=name_and_value("NAME=SPLIT"),
        nargs="+",
        action="extend",
        default=[],
        metavar="NAME=SPLIT",
        help="split of Karpathy's JSON or of the webdataset folder (default: test)",
    )
    verb.add_argument(
        "--title", nargs="+", action="extend", required=True, help="title of each retrieval set, for tables"
    )
    for name in ("retrieval", "structure"):
        verb.add_argument(
            f"--{name}-dir", type=Path, required=True, metavar="DIR", help="output folder for NAME.json"
        )
    verb.set_defaults(run=_image_text)


def _add_overlap(verbs: argparse._SubParsersAction) -> None:
    verb = verbs.add_parser(
        "overlap",
        help="near-duplicates between test sets and a training corpus",
        description="Compare the images of test sets with those of a packed training corpus by perceptual "
        f"hash; writes one JSON file per test set, with its near-duplicates. {_UP_TO_DATE}",
    )
    verb.add_argument("--corpus", required=True, metavar="NAME", help="name of the corpus, for tables")
    verb.add_argument(
        "--shards", type=Path, required=True, metavar="shards.json", help="manifest of the training shards"
    )
    add_testsets(verb)
    verb.add_argument(
        "--feature-cache",
        type=Path,
        required=True,
        metavar="DIR",
        help="cache for the hashes of the test sets, keyed by content",
    )
    verb.add_argument(
        "--near-duplicate-distance",
        type=non_negative_int,
        metavar="BITS",
        help="maximum Hamming distance between the 256-bit perceptual hashes of near-duplicates",
    )
    verb.add_argument("--processes", type=positive_int, required=True, help="worker processes")
    verb.set_defaults(run=_overlap)


# Specs are loaded before the slow imports, so that an invalid spec is reported at once.


def _zeroshot(options: argparse.Namespace) -> None:
    check_folders_differ(options, "--out-dir", "--predictions-dir")
    testsets = load_specs(options.testset)
    from cloob.evaluate.protocols.zeroshot import evaluate_zeroshot

    evaluate_zeroshot(load_extractor(options), testsets, options.out_dir, options.predictions_dir)


def _linear_probe(options: argparse.Namespace) -> None:
    testsets = load_specs(options.testset)
    from cloob.evaluate.protocols.linear_probe import Settings, evaluate_linear_probe, l2_sweep

    settings = Settings(
        tuple(dict.fromkeys(options.features)),
        l2_sweep(options.l2_min, options.l2_max, options.l2_num),
        options.val_fraction,
        options.seed,
    )
    evaluate_linear_probe(
        load_extractor(options),
        testsets,
        dict(options.probe_train_set),
        settings,
        options.out_dir,
        options.keep_train_features,
    )


def _image_text(options: argparse.Namespace) -> None:
    if len(options.title) != len(options.pairs):
        raise InputError(
            f"--title: {len(options.title)} titles for {len(options.pairs)} --pairs; give one for each"
        )
    check_folders_differ(options, "--retrieval-dir", "--structure-dir")
    check_distinct("--pairs", (name for name, _ in options.pairs))
    for option in ("images", "split"):
        if unknown := sorted(dict(getattr(options, option)).keys() - dict(options.pairs).keys()):
            raise InputError(f"--{option}: {', '.join(unknown)} not among --pairs; correct the name")
    from cloob.evaluate.protocols.image_text import evaluate_image_text
    from cloob.evaluate.retrieval_sets.load import open_retrieval_set

    images, splits = dict(options.images), dict(options.split)
    retrieval_sets = [
        (
            name,
            title,
            open_retrieval_set(path, options.feature_cache, images.get(name), splits.get(name)),
        )
        for (name, path), title in zip(options.pairs, options.title, strict=True)
    ]
    evaluate_image_text(load_extractor(options), retrieval_sets, options.retrieval_dir, options.structure_dir)


def _overlap(options: argparse.Namespace) -> None:
    testsets = load_specs(options.testset)
    from cloob.evaluate.protocols.overlap import evaluate_overlap
    from cloob.images.near_duplicates import DEFAULT_DISTANCE

    distance = (
        DEFAULT_DISTANCE if options.near_duplicate_distance is None else options.near_duplicate_distance
    )
    evaluate_overlap(
        options.corpus,
        options.shards,
        testsets,
        options.feature_cache,
        distance,
        options.processes,
        options.out_dir,
    )
