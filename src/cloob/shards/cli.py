"""`cloob shards …`"""

import argparse
from dataclasses import replace
from pathlib import Path

from cloob.common.arguments import non_negative_int, positive_int


def add_verbs(verbs: argparse._SubParsersAction) -> None:
    """Add `pack` and `verify`."""
    pack = verbs.add_parser(
        "pack",
        help="downloaded images, or somebody's shards -> verified shards with an index",
        description="Decode every image in full, once; drop the images of the validation split and "
        "their near-duplicates; write the others in one seeded order as webdataset tars with an index beside "
        "each. The manifest shards.json comes last. Killed and started again, it keeps what is whole.",
    )
    source = pack.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "--ledgers", type=Path, nargs="+", action="extend", help="of all parts that `cloob download` fetched"
    )
    source.add_argument("--ready-made", type=Path, help="instead: folder of webdataset tars that you have")
    pack.add_argument("--urls", type=Path, help="table of links that the ledgers are of")
    pack.add_argument("--validation", type=Path, help="shards.json whose images are left out")
    pack.add_argument(
        "--near-duplicate-distance",
        type=non_negative_int,
        metavar="BITS",
        help="near-duplicates, left out too: perceptual hashes that differ in at most so many of 256 bits",
    )
    pack.add_argument("--out", type=Path, required=True, help="folder for the shards")
    pack.add_argument("--outcomes", type=Path, required=True, help="CSV to write: images by outcome")
    pack.add_argument("--samples-per-shard", type=positive_int, required=True, help="images per tar")
    pack.add_argument("--seed", type=non_negative_int, required=True, help="of the global order")
    pack.add_argument("--max-bytes", type=positive_int, required=True, help="refused: a longer file")
    pack.add_argument("--max-pixels", type=positive_int, required=True, help="refused: a larger image")
    pack.add_argument(
        "--quality", type=positive_int, required=True, help="JPEG quality of what is encoded again"
    )
    limits = pack.add_argument_group("for --ready-made, which no download has judged")
    limits.add_argument("--image-size", type=positive_int, help="longest side; larger images are scaled down")
    limits.add_argument("--min-size", type=non_negative_int, default=0, help="refused: a shorter side")
    limits.add_argument("--max-aspect-ratio", type=float, help="refused: longer side / shorter side")
    _add_processes(pack)
    pack.set_defaults(run=_pack)

    verify = verbs.add_parser(
        "verify",
        help="check every byte of finished shards",
        description="Hash every tar, decode and hash every image, and compare with index, ledger and "
        "manifest. Nothing is repaired: what differs is an error that names the shard and the sample.",
    )
    verify.add_argument("--shards", type=Path, required=True, help="shards.json")
    verify.add_argument("--outcomes", type=Path, required=True, help="CSV that `cloob shards pack` wrote")
    verify.add_argument("--out", type=Path, help="JSON to write: what was verified")
    _add_processes(verify)
    verify.set_defaults(run=_verify)


def _add_processes(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--processes", type=positive_int, required=True, help="processes that decode")


def _pack(options: argparse.Namespace) -> None:
    from cloob.common.accounting import summary_line
    from cloob.common.errors import InputError
    from cloob.images.near_duplicates import DEFAULT_DISTANCE
    from cloob.shards.from_download import download_source
    from cloob.shards.from_webdataset import webdataset_source
    from cloob.shards.pack import PackOptions, pack
    from cloob.shards.training_image import ImagePolicy

    if options.ledgers and not options.urls:
        raise InputError("--urls: give the table of links that the ledgers are of")
    if options.ready_made:
        frozen, out = options.ready_made.resolve(), options.out.resolve()
        if frozen.is_relative_to(out) or out.is_relative_to(frozen):
            raise InputError(f"{out}: packing would write among the shards of {frozen}; name another --out")
    source = (
        webdataset_source(options.ready_made, options.max_bytes)
        if options.ready_made
        else download_source(options.ledgers, options.urls)
    )
    rules = ImagePolicy(options.max_bytes, options.max_pixels, options.quality)
    if options.ready_made:
        limits = ("image_size", "min_size", "max_aspect_ratio")
        rules = replace(rules, **{name: getattr(options, name) for name in limits})
    distance = (
        DEFAULT_DISTANCE if options.near_duplicate_distance is None else options.near_duplicate_distance
    )
    packing = PackOptions(options.samples_per_shard, options.seed, rules, distance)
    found = pack(source, options.out, options.outcomes, packing, options.processes, options.validation)
    print(f"{options.out}: {summary_line(found)}")


def _verify(options: argparse.Namespace) -> None:
    from cloob.shards.verify import verify

    print(verify(options.shards, options.outcomes, options.processes, options.out))
