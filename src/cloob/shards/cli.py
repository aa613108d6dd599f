"""`cloob shards …`"""

import argparse
from pathlib import Path

from cloob.arguments import positive


def add_verbs(verbs: argparse._SubParsersAction) -> None:
    """Add `pack` and `verify`."""
    pack = verbs.add_parser(
        "pack",
        help="img2dataset's images -> verified shards with an index",
        description="Decode every fetched image in full and write those that hold as webdataset tars with "
        "an index beside each; the manifest shards.json comes last.",
    )
    pack.add_argument("--images", type=Path, required=True, help="folder that `cloob download fetch` filled")
    pack.add_argument("--fates-before", type=Path, required=True, help="CSV of that fetch: what must come in")
    pack.add_argument("--out", type=Path, required=True, help="folder for the shards")
    pack.add_argument("--fates", type=Path, required=True, help="CSV to write: images by fate")
    pack.add_argument("--samples-per-shard", type=positive, required=True, help="images per tar")
    pack.add_argument("--processes", type=positive, required=True, help="processes that decode")
    pack.set_defaults(run=_pack)

    verify = verbs.add_parser(
        "verify",
        help="hash finished shards again",
        description="Hash every tar and every image of finished shards and compare with index and manifest.",
    )
    verify.add_argument("--shards", type=Path, required=True, help="shards.json")
    verify.set_defaults(run=_verify)


def _pack(options: argparse.Namespace) -> None:
    from cloob.download.fates import in_words
    from cloob.shards.pack import pack

    found = pack(
        options.images,
        options.fates_before,
        options.out,
        options.fates,
        options.samples_per_shard,
        options.processes,
    )
    print(f"{options.out}: {in_words(found)}")


def _verify(options: argparse.Namespace) -> None:
    from cloob.shards.verify import verify

    print(verify(options.shards))
