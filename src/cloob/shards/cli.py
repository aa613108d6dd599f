"""`cloob shards pack` and `cloob shards verify`."""

import argparse
from dataclasses import replace
from pathlib import Path

from cloob.common.arguments import non_negative_int, positive_float, positive_int
from cloob.shards.local_sources import LOCAL_SOURCES


def add_verbs(verbs: argparse._SubParsersAction) -> None:
    """Add `pack` and `verify` to the command line."""
    pack = verbs.add_parser(
        "pack",
        help="pack downloaded images, or images on disk, into verified shards with an index",
        description="Decode every image in full, once; drop images of the validation splits and their "
        "near-duplicates; write the others in one global order as webdataset tars, each with an index. "
        "The manifest shards.json is written last. After an interruption, rerun the command; it resumes.",
    )
    source = pack.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "--ledgers",
        type=Path,
        nargs="+",
        action="extend",
        metavar="PARQUET",
        help="ledgers of all parts, written by `cloob download fetch`",
    )
    for local in LOCAL_SOURCES.values():
        source.add_argument(
            f"--{local.flag}",
            type=Path,
            nargs="+" if local.several else None,
            action="extend" if local.several else "store",
            metavar="FOLDER",
            help=f"instead: {local.help}",
        )
        for option, schema in local.options.items():
            pack.add_argument(
                _flag(option),
                type=Path if option in local.inputs else _column,
                metavar="FILE" if option in local.inputs else "COLUMN",
                help=f"with --{local.flag}: {schema['description']}",
            )
    pack.add_argument("--urls", type=Path, metavar="PARQUET", help="URL table that the ledgers belong to")
    pack.add_argument(
        "--validation",
        type=Path,
        nargs="+",
        action="extend",
        default=[],
        metavar="JSON",
        help="shards.json of validation splits, whose images are excluded",
    )
    pack.add_argument(
        "--near-duplicate-distance",
        type=non_negative_int,
        metavar="BITS",
        help="near-duplicates, also excluded: perceptual hashes that differ in at most BITS of 256 bits",
    )
    pack.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="output folder")
    pack.add_argument(
        "--outcomes", type=Path, required=True, metavar="CSV", help="CSV to write: images by outcome"
    )
    pack.add_argument("--samples-per-shard", type=positive_int, required=True, help="images per tar")
    pack.add_argument("--seed", type=non_negative_int, required=True, help="seed of the global order")
    pack.add_argument("--max-bytes", type=positive_int, required=True, help="larger files are rejected")
    pack.add_argument("--max-pixels", type=positive_int, required=True, help="larger images are rejected")
    pack.add_argument(
        "--quality", type=positive_int, required=True, help="JPEG quality of images that are re-encoded"
    )
    limits = pack.add_argument_group(
        "size limits, not for --ledgers (the download has already applied them to its images)"
    )
    limits.add_argument(
        "--image-size", type=positive_int, help="longest side in pixels; larger images are scaled down"
    )
    limits.add_argument(
        "--min-size",
        type=non_negative_int,
        default=0,
        help="reject images whose shorter side is smaller, in pixels",
    )
    limits.add_argument(
        "--max-aspect-ratio",
        type=positive_float,
        help="reject images with a higher ratio of longer to shorter side",
    )
    _add_processes(pack)
    pack.set_defaults(run=_pack)

    verify = verbs.add_parser(
        "verify",
        help="check every byte of packed shards",
        description="Hash every tar, decode and hash every image, and compare with index, ledger and "
        "manifest. Nothing is repaired; the first difference is an error naming the shard and the sample.",
    )
    verify.add_argument("--shards", type=Path, required=True, metavar="JSON", help="shards.json to verify")
    verify.add_argument(
        "--outcomes", type=Path, required=True, metavar="CSV", help="outcomes that `cloob shards pack` wrote"
    )
    verify.add_argument("--out", type=Path, metavar="JSON", help="JSON to write: summary of the verification")
    _add_processes(verify)
    verify.set_defaults(run=_verify)


def _flag(option: str) -> str:
    return f"--{option.replace('_', '-')}"


def _column(text: str) -> str | int:
    """A column of a table by name or, if it is a number, by position."""
    return int(text) if text.isdecimal() else text


def _add_processes(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--processes", type=positive_int, required=True, help="number of worker processes")


def _pack(options: argparse.Namespace) -> None:
    from cloob.common.accounting import summary_line
    from cloob.common.errors import InputError
    from cloob.images.near_duplicates import DEFAULT_DISTANCE
    from cloob.shards.from_download import download_source
    from cloob.shards.open_source import open_local_source
    from cloob.shards.pack import PackOptions, pack
    from cloob.shards.training_image import ImagePolicy

    policy = ImagePolicy(options.max_bytes, options.max_pixels, options.quality)
    given = next((source for source in LOCAL_SOURCES.values() if getattr(options, source.flag)), None)
    for other in LOCAL_SOURCES.values():
        for option in other.options:
            if other is not given and getattr(options, option) is not None:
                raise InputError(f"{_flag(option)}: only with --{other.flag}; leave it out")
    if given is not None:
        folders = getattr(options, given.flag)
        local_options = {
            option: getattr(options, option)
            for option in given.options
            if getattr(options, option) is not None
        }
        folders = folders if given.several else [folders]
        source = open_local_source(given, folders, local_options, options.out, options.max_bytes)
        limits = ("image_size", "min_size", "max_aspect_ratio")
        policy = replace(policy, **{name: getattr(options, name) for name in limits})
    else:
        if not options.urls:
            raise InputError("--urls: required with --ledgers; give the URL table that the ledgers belong to")
        source = download_source(options.ledgers, options.urls)
    distance = options.near_duplicate_distance
    distance = DEFAULT_DISTANCE if distance is None else distance
    pack_options = PackOptions(options.samples_per_shard, options.seed, policy, distance)
    counts = pack(source, options.out, options.outcomes, pack_options, options.processes, options.validation)
    print(f"{options.out}: {summary_line(counts)}")


def _verify(options: argparse.Namespace) -> None:
    from cloob.shards.verify import verify

    print(verify(options.shards, options.outcomes, options.processes, options.out))
