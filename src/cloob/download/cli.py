"""Command line of the download stage: `cloob download VERB`."""

import argparse
from pathlib import Path

from cloob.common.arguments import (
    group_by_name,
    name_and_path,
    non_negative_int,
    positive_float,
    positive_int,
)
from cloob.download.reader_arguments import add_reader_arguments, reader_options


def add_verbs(verbs: argparse._SubParsersAction) -> None:
    """Add `urls`, `fetch`, `outcomes`, `summary` and `file`."""
    urls = verbs.add_parser(
        "urls",
        help="read a URL list of any supported format",
        description="Read a URL list. Each row becomes a URL to download or is rejected with a reason.",
    )
    add_reader_arguments(urls)
    urls.add_argument("--urls", type=Path, required=True, help="Parquet to write: the URLs to download")
    urls.add_argument(
        "--outcomes", type=Path, required=True, help="CSV to write: rows of the list by outcome"
    )
    urls.set_defaults(run=_urls)

    fetch = verbs.add_parser(
        "fetch",
        help="download the images of one part of a URL table",
        description="Download the images of one part of a URL table with img2dataset. After an interruption, "
        "the same command resumes; with other URLs or image options it starts over.",
    )
    fetch.add_argument("--urls", type=Path, required=True, help="table written by `cloob download urls`")
    fetch.add_argument("--part", type=non_negative_int, required=True, help="index of the part, from 0")
    fetch.add_argument(
        "--num-parts", type=positive_int, required=True, help="number of parts that the table is split into"
    )
    fetch.add_argument("--folder", type=Path, required=True, help="output folder for img2dataset's tars")
    fetch.add_argument(
        "--ledger", type=Path, required=True, help="Parquet to write next to the folder: one row per URL"
    )
    _add_image_arguments(fetch)
    _add_fetch_arguments(fetch)
    _add_guard_arguments(fetch)
    fetch.set_defaults(run=_fetch)

    outcomes = verbs.add_parser(
        "outcomes",
        help="count the URLs of all parts by outcome",
        description="Verify that the ledgers of all parts match the URL table row by row, and count the URLs "
        "by outcome.",
    )
    outcomes.add_argument("--urls", type=Path, required=True, help="table written by `cloob download urls`")
    outcomes.add_argument(
        "--ledgers",
        type=Path,
        nargs="+",
        action="extend",
        required=True,
        help="ledgers of all parts, in order",
    )
    outcomes.add_argument("--outcomes", type=Path, required=True, help="CSV to write: URLs by outcome")
    outcomes.set_defaults(run=_outcomes)

    summary = verbs.add_parser(
        "summary",
        help="count the rows of a corpus by split, stage, outcome and HTTP status",
        description="Count all rows of a corpus' URL lists by split, stage, outcome and HTTP status.",
    )
    summary.add_argument(
        "--list-outcomes",
        type=name_and_path("SPLIT=CSV"),
        nargs="+",
        action="extend",
        required=True,
        metavar="SPLIT=CSV",
        help="row accounting of each URL list",
    )
    summary.add_argument(
        "--ledgers",
        type=name_and_path("SPLIT=PARQUET"),
        nargs="+",
        action="extend",
        required=True,
        metavar="SPLIT=PARQUET",
        help="ledgers of all parts of all splits",
    )
    summary.add_argument("--summary", type=Path, required=True, help="CSV to write")
    summary.set_defaults(run=_summary)

    file = verbs.add_parser(
        "file",
        help="download one large file, resumable and verified",
        description="Download one file. After an interruption, the same command resumes if the server "
        "confirms that the file has not changed. The file gets its final name once it is complete and "
        "verified.",
    )
    file.add_argument("--url", required=True, help="an http or https URL")
    file.add_argument("--out", type=Path, required=True, help="file to write")
    file.add_argument("--max-bytes", type=positive_int, required=True, help="larger files are rejected")
    file.add_argument("--checksum", help="sha256:HEX or md5:HEX; without it the file is not verified")
    file.set_defaults(run=_file)


def _add_image_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of `ImageOptions`."""
    parser.add_argument(
        "--image-size",
        type=positive_int,
        required=True,
        help="longest side in pixels; larger images are scaled down",
    )
    parser.add_argument(
        "--quality", type=positive_int, required=True, help="JPEG quality of images that are re-encoded"
    )
    parser.add_argument(
        "--max-aspect-ratio",
        type=positive_float,
        required=True,
        help="reject images with a higher ratio of longer to shorter side",
    )
    parser.add_argument(
        "--min-size",
        type=non_negative_int,
        required=True,
        help="reject images whose shorter side is smaller, in pixels",
    )
    parser.add_argument("--samples-per-tar", type=positive_int, required=True, help="URLs per tar")


def _add_fetch_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of `FetchOptions`."""
    parser.add_argument(
        "--user-agent", required=True, help="token in the User-Agent header, next to img2dataset's"
    )
    parser.add_argument(
        "--requests-per-second", type=positive_float, required=True, help="limit per host for this job"
    )
    parser.add_argument(
        "--timeout", type=positive_int, required=True, help="seconds without data after which a request fails"
    )
    parser.add_argument("--retries", type=non_negative_int, required=True, help="immediate retries per URL")
    parser.add_argument(
        "--retry-rounds",
        type=positive_int,
        required=True,
        help="number of rounds; all but the first retry transient failures",
    )
    parser.add_argument(
        "--seconds-between-rounds",
        type=non_negative_int,
        required=True,
        help="pause between rounds, in seconds",
    )
    parser.add_argument(
        "--processes",
        type=positive_int,
        required=True,
        help="worker processes; each downloads one tar at a time",
    )
    parser.add_argument("--threads", type=positive_int, required=True, help="threads per process")


def _add_guard_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of `Guard`."""
    parser.add_argument(
        "--allowed-addresses",
        nargs="*",
        action="extend",
        default=[],
        help="non-public IP:port addresses that may be contacted",
    )
    parser.add_argument("--max-bytes", type=positive_int, required=True, help="reject larger responses")
    parser.add_argument("--max-pixels", type=positive_int, required=True, help="reject images of more pixels")
    parser.add_argument(
        "--max-seconds", type=positive_int, required=True, help="reject responses that take longer"
    )


def _urls(arguments: argparse.Namespace) -> None:
    from cloob.common.accounting import summary_line
    from cloob.download.corpora.registry import READERS

    options = reader_options(arguments)
    counts = READERS[arguments.reader].read(arguments.urls, arguments.outcomes, **options)
    print(f"{arguments.urls}: {summary_line(counts)}")


def _fetch(arguments: argparse.Namespace) -> None:
    from cloob.common.accounting import summary_line
    from cloob.download.fetch.guard import Guard
    from cloob.download.fetch.part import fetch_part
    from cloob.download.fetch.round import FetchOptions, ImageOptions

    image_options = ImageOptions(
        image_size=arguments.image_size,
        quality=arguments.quality,
        max_aspect_ratio=arguments.max_aspect_ratio,
        min_size=arguments.min_size,
        samples_per_tar=arguments.samples_per_tar,
    )
    fetch_options = FetchOptions(
        user_agent=arguments.user_agent,
        requests_per_second=arguments.requests_per_second,
        timeout=arguments.timeout,
        retries=arguments.retries,
        retry_rounds=arguments.retry_rounds,
        seconds_between_rounds=arguments.seconds_between_rounds,
        processes=arguments.processes,
        threads=arguments.threads,
    )
    guard = Guard(
        allowed_addresses=tuple(arguments.allowed_addresses),
        max_bytes=arguments.max_bytes,
        max_pixels=arguments.max_pixels,
        max_seconds=arguments.max_seconds,
    )
    counts = fetch_part(
        arguments.urls,
        arguments.part,
        arguments.num_parts,
        arguments.folder,
        arguments.ledger,
        image_options,
        fetch_options,
        guard,
    )
    print(f"{arguments.ledger}: {summary_line(counts)}")


def _outcomes(arguments: argparse.Namespace) -> None:
    from cloob.common.accounting import summary_line
    from cloob.download.summary import merge_outcomes

    counts = merge_outcomes(arguments.urls, arguments.ledgers, arguments.outcomes)
    print(f"{arguments.outcomes}: {summary_line(counts)}")


def _summary(arguments: argparse.Namespace) -> None:
    from cloob.common.accounting import summary_line
    from cloob.download.summary import write_summary

    ledgers = group_by_name(arguments.ledgers)
    counts = write_summary(dict(arguments.list_outcomes), ledgers, arguments.summary)
    print(f"{arguments.summary}: {summary_line(counts)}")


def _file(arguments: argparse.Namespace) -> None:
    from cloob.common.http_file import RemoteFile, download_file

    download_file(RemoteFile(arguments.url, arguments.max_bytes, arguments.checksum), arguments.out)
