"""`cloob download …`"""

import argparse
from pathlib import Path

from cloob.common.arguments import (
    group_by_name,
    name_and_path,
    non_negative_int,
    positive_float,
    positive_int,
)
from cloob.download.corpora.captions import RULES


def add_verbs(verbs: argparse._SubParsersAction) -> None:
    """Add `cc`, `yfcc`, `fetch` and `file`."""
    cc3m = verbs.add_parser(
        "cc3m",
        help="Conceptual Captions' list -> links",
        description="Read a list of Conceptual Captions as it is; every row becomes a link or is refused "
        "with a reason.",
    )
    cc3m.add_argument("--list", type=Path, required=True, help="TSV of caption and link, without header")
    _add_link_outputs(cc3m)
    cc3m.set_defaults(run=_cc)

    yfcc15m = verbs.add_parser(
        "yfcc15m",
        help="OpenAI's subset of YFCC100M and the metadata -> links",
        description="Join OpenAI's subset with YFCC100M's metadata in one pass; every row of the subset "
        "becomes a link or is refused with a reason.",
    )
    yfcc15m.add_argument(
        "--metadata",
        type=Path,
        nargs="+",
        action="extend",
        required=True,
        help="25 columns, plain or .bz2, whole or its parts in order; or the SQLite dump of 23 columns",
    )
    yfcc15m.add_argument("--subset", type=Path, required=True, help="line, photo id, hash; plain or .bz2")
    yfcc15m.add_argument(
        "--caption",
        choices=list(RULES),
        required=True,
        help="which of the user's texts is the caption",
    )
    yfcc15m.add_argument("--image-base-url", required=True, help="address above the folders of hashes")
    _add_link_outputs(yfcc15m)
    yfcc15m.set_defaults(run=_yfcc)

    fetch = verbs.add_parser(
        "fetch",
        help="a part of the links -> images and their ledger, by img2dataset",
        description="Fetch the images of a part of the links with img2dataset. Interrupted and started "
        "again, it goes on; with other links or other options for images it begins afresh.",
    )
    fetch.add_argument("--urls", type=Path, required=True, help="table of links")
    fetch.add_argument("--part", type=non_negative_int, required=True, help="which part of the links, from 0")
    fetch.add_argument("--parts", type=positive_int, required=True, help="parts that the links are cut into")
    fetch.add_argument("--folder", type=Path, required=True, help="folder for img2dataset's tars")
    fetch.add_argument(
        "--ledger", type=Path, required=True, help="Parquet to write beside the folder: a row per link"
    )
    fetch.add_argument(
        "--image-size", type=positive_int, required=True, help="larger images are scaled to fit it"
    )
    fetch.add_argument("--quality", type=positive_int, required=True, help="JPEG quality of what is scaled")
    fetch.add_argument(
        "--max-aspect-ratio",
        type=positive_float,
        required=True,
        help="refused: longer / shorter side above it",
    )
    fetch.add_argument(
        "--min-size", type=non_negative_int, required=True, help="refused: shorter side below it"
    )
    fetch.add_argument("--samples-per-tar", type=positive_int, required=True, help="links per tar")
    fetch.add_argument("--user-agent", required=True, help="what servers are told of us, beside img2dataset")
    fetch.add_argument(
        "--requests-per-second", type=positive_float, required=True, help="of one host, by this part's job"
    )
    fetch.add_argument("--timeout", type=positive_int, required=True, help="seconds without an answer")
    fetch.add_argument(
        "--retries", type=non_negative_int, required=True, help="immediate further tries per link"
    )
    fetch.add_argument(
        "--retry-rounds", type=positive_int, required=True, help="in all: what may pass is tried again"
    )
    fetch.add_argument(
        "--seconds-between-rounds",
        type=non_negative_int,
        required=True,
        help="that a round waits after the one before",
    )
    fetch.add_argument(
        "--processes", type=positive_int, required=True, help="each works on one tar at a time"
    )
    fetch.add_argument("--threads", type=positive_int, required=True, help="per process")
    fetch.add_argument(
        "--allowed-addresses",
        nargs="*",
        action="extend",
        default=[],
        help="IP:port that may be reached though not public",
    )
    fetch.add_argument("--max-bytes", type=positive_int, required=True, help="refused: a longer answer")
    fetch.add_argument("--max-pixels", type=positive_int, required=True, help="refused: a larger image")
    fetch.add_argument("--max-seconds", type=positive_int, required=True, help="refused: a slower answer")
    fetch.set_defaults(run=_fetch)

    outcomes = verbs.add_parser(
        "outcomes",
        help="ledgers of all parts -> links by outcome",
        description="Check that the ledgers of a list's parts are the list, row by row, and count its links "
        "by outcome.",
    )
    outcomes.add_argument("--urls", type=Path, required=True, help="table of links")
    outcomes.add_argument(
        "--ledgers", type=Path, nargs="+", action="extend", required=True, help="of all parts in their order"
    )
    outcomes.add_argument("--outcomes", type=Path, required=True, help="CSV to write: links by outcome")
    outcomes.set_defaults(run=_outcomes)

    summary = verbs.add_parser(
        "summary",
        help="accounting of a corpus's lists and ledgers -> where every row ended",
        description="Write where every row of a corpus's lists ended, by split, stage, outcome and HTTP status.",
    )
    summary.add_argument(
        "--list-outcomes",
        type=name_and_path("SPLIT=CSV"),
        nargs="+",
        action="extend",
        required=True,
        metavar="SPLIT=CSV",
        help="rows of each list by outcome",
    )
    summary.add_argument(
        "--ledgers",
        type=name_and_path("SPLIT=PARQUET"),
        nargs="+",
        action="extend",
        required=True,
        metavar="SPLIT=PARQUET",
        help="of all parts of all splits",
    )
    summary.add_argument("--summary", type=Path, required=True, help="CSV to write")
    summary.set_defaults(run=_summary)

    file = verbs.add_parser(
        "file",
        help="one large file, resumed and verified",
        description="Fetch one file. Interrupted and started again, it goes on, if the server says that the "
        "file is still the same. It has its name only once it is whole and has the checksum.",
    )
    file.add_argument("--url", required=True, help="of http or https")
    file.add_argument("--out", type=Path, required=True, help="file to write")
    file.add_argument("--max-bytes", type=positive_int, required=True, help="refused: a larger file")
    file.add_argument("--checksum", help="sha256:HEX or md5:HEX; without it the file is not verified")
    file.set_defaults(run=_file)


def _add_link_outputs(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--urls", type=Path, required=True, help="Parquet to write: the links")
    parser.add_argument("--outcomes", type=Path, required=True, help="CSV to write: rows by outcome")


def _cc(options: argparse.Namespace) -> None:
    from cloob.common.accounting import summary_line
    from cloob.download.corpora.conceptual_captions import read_cc

    print(f"{options.urls}: {summary_line(read_cc(options.list, options.urls, options.outcomes))}")


def _yfcc(options: argparse.Namespace) -> None:
    from cloob.common.accounting import summary_line
    from cloob.download.corpora.yfcc100m import join_yfcc

    found = join_yfcc(
        options.metadata,
        options.subset,
        options.caption,
        options.image_base_url,
        options.urls,
        options.outcomes,
    )
    print(f"{options.urls}: {summary_line(found)}")


def _fetch(options: argparse.Namespace) -> None:
    from cloob.common.accounting import summary_line
    from cloob.download.fetch.guard import Guard
    from cloob.download.fetch.part import fetch
    from cloob.download.fetch.round import Effort, Images

    images = Images(
        image_size=options.image_size,
        quality=options.quality,
        max_aspect_ratio=options.max_aspect_ratio,
        min_size=options.min_size,
        samples_per_tar=options.samples_per_tar,
    )
    effort = Effort(
        user_agent=options.user_agent,
        requests_per_second=options.requests_per_second,
        timeout=options.timeout,
        retries=options.retries,
        rounds=options.retry_rounds,
        seconds_between_rounds=options.seconds_between_rounds,
        processes=options.processes,
        threads=options.threads,
    )
    guard = Guard(
        allowed=tuple(options.allowed_addresses),
        max_bytes=options.max_bytes,
        max_pixels=options.max_pixels,
        max_seconds=options.max_seconds,
    )
    found = fetch(
        options.urls, options.part, options.parts, options.folder, options.ledger, images, effort, guard
    )
    print(f"{options.ledger}: {summary_line(found)}")


def _outcomes(options: argparse.Namespace) -> None:
    from cloob.common.accounting import summary_line
    from cloob.download.summary import merge_outcomes

    print(
        f"{options.outcomes}: {summary_line(merge_outcomes(options.urls, options.ledgers, options.outcomes))}"
    )


def _summary(options: argparse.Namespace) -> None:
    from cloob.common.accounting import summary_line
    from cloob.download.summary import write_summary

    found = write_summary(dict(options.list_outcomes), group_by_name(options.ledgers), options.summary)
    print(f"{options.summary}: {summary_line(found)}")


def _file(options: argparse.Namespace) -> None:
    from cloob.common.http_file import RemoteFile, download_file

    download_file(RemoteFile(options.url, options.max_bytes, options.checksum), options.out)
