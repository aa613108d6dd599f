"""`cloob evaluate linear-probe`."""

import argparse

from cloob.common.arguments import fraction, name_and_value, non_negative_int, positive_float, positive_int
from cloob.evaluate.cli import add_checkpoint, add_testsets, described, extractor_of


def add_linear_probe(verbs: argparse._SubParsersAction) -> None:
    """Add the verb to the command line."""
    linear_probe = verbs.add_parser(
        "linear-probe",
        help="classify test sets by a logistic regression on the features of their training images",
        description="CLIP's linear probe of one checkpoint on one or more test sets: the L2 strength that "
        "does best on validation images, then a fit on these and the training images; one JSON file per set. "
        "A file that is there of the same checkpoint, data and settings is left as it is.",
    )
    add_checkpoint(linear_probe)
    add_testsets(linear_probe, also=", with training images")
    linear_probe.add_argument(
        "--probe-train-set",
        type=name_and_value("NAME=NAME"),
        nargs="+",
        action="extend",
        default=[],
        metavar="NAME=NAME",
        help="test sets that take the training images of another: imagenetv2=imagenet",
    )
    linear_probe.add_argument(
        "--features",
        choices=("after_projection", "before_projection"),
        nargs="+",
        action="extend",
        required=True,
        help="features of the image encoder; a table shows those named first",
    )
    linear_probe.add_argument(
        "--l2-min", type=positive_float, required=True, metavar="L", help="1 / scikit-learn's C"
    )
    linear_probe.add_argument(
        "--l2-max", type=positive_float, required=True, metavar="L", help="end of the sweep"
    )
    linear_probe.add_argument(
        "--l2-num",
        type=positive_int,
        required=True,
        metavar="N",
        help="how many, evenly in their logarithm",
    )
    linear_probe.add_argument(
        "--val-fraction",
        type=fraction,
        required=True,
        metavar="SHARE",
        help="of each class's training images, where a set has no validation images",
    )
    linear_probe.add_argument("--seed", type=non_negative_int, required=True, help="which images these are")
    linear_probe.set_defaults(run=_linear_probe)


def _linear_probe(options: argparse.Namespace) -> None:
    testsets = described(options.testset)
    from cloob.evaluate.protocols.linear_probe import Settings, evaluate_linear_probe, l2_sweep

    settings = Settings(
        tuple(dict.fromkeys(options.features)),
        l2_sweep(options.l2_min, options.l2_max, options.l2_num),
        options.val_fraction,
        options.seed,
    )
    evaluate_linear_probe(
        extractor_of(options), testsets, dict(options.probe_train_set), settings, options.out_dir
    )
