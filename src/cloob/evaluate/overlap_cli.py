"""`cloob evaluate overlap`."""

import argparse
from pathlib import Path

from cloob.common.arguments import non_negative_int, positive_int
from cloob.evaluate.cli import add_testsets, described


def add_overlap(verbs: argparse._SubParsersAction) -> None:
    """Add the verb to the command line."""
    overlap = verbs.add_parser(
        "overlap",
        help="test images that are near-duplicates of training images",
        description="Compare the images of test sets with a packed training corpus by perceptual hash: "
        "one JSON file per set, with the list of near-duplicates. A file that is there of the same shards, "
        "data and distance is left as it is.",
    )
    overlap.add_argument("--corpus", required=True, metavar="NAME", help="of the corpus, for tables")
    overlap.add_argument("--shards", type=Path, required=True, metavar="shards.json", help="of training")
    add_testsets(overlap)
    overlap.add_argument(
        "--feature-cache",
        type=Path,
        required=True,
        metavar="DIR",
        help="hashes of the test sets are kept here and taken from here, by their content",
    )
    overlap.add_argument(
        "--near-duplicate-distance",
        type=non_negative_int,
        metavar="BITS",
        help="near-duplicates: perceptual hashes that differ in at most so many of 256 bits",
    )
    overlap.add_argument("--processes", type=positive_int, required=True, help="processes that compare")
    overlap.set_defaults(run=_overlap)


def _overlap(options: argparse.Namespace) -> None:
    testsets = described(options.testset)  # before the import that takes seconds
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
