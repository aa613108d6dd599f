"""`cloob evaluate <verb>`: preparation of test sets and download of retrieval sets."""

import argparse
from pathlib import Path

from cloob.common.arguments import non_negative_int, positive_int
from cloob.common.errors import InputError


def add_data_verbs(verbs: argparse._SubParsersAction) -> None:
    """Add the verbs that provide data."""
    _add_prepare_testset(verbs)
    _add_download_retrieval_set(verbs)


def _add_prepare_testset(verbs: argparse._SubParsersAction) -> None:
    verb = verbs.add_parser(
        "prepare-testset",
        help="download or read a test set and convert it to validated class folders",
        description="Download a test set as its spec defines, or read local official files, and convert it "
        "to class folders. The output is created only if its images and classes match the spec.",
    )
    verb.add_argument("--spec", type=Path, required=True, metavar="YAML", help="spec of the test set")
    verb.add_argument(
        "--source",
        choices=("processed", "official", "webdataset"),
        required=True,
        help="which distribution listed under the spec's `source` to use; webdataset is CLIP_benchmark's",
    )
    verb.add_argument(
        "--local-files",
        type=Path,
        metavar="DIR",
        help="folder with local copies of the distribution's files, to use instead of downloading",
    )
    verb.add_argument(
        "--archives",
        type=Path,
        required=True,
        metavar="DIR",
        help="folder for complete and partial downloads",
    )
    verb.add_argument("--out", type=Path, required=True, metavar="DIR", help="output folder")
    verb.add_argument(
        "--workers",
        type=non_negative_int,
        default=0,
        metavar="N",
        help="processes that decode videos (UCF101)",
    )
    verb.add_argument(
        "--splits",
        choices=("test", "train"),
        nargs="+",
        action="extend",
        help="splits to read from webdataset tars (default: those that the spec has)",
    )
    verb.add_argument(
        "--prompts",
        choices=("spec", "webdataset"),
        default="spec",
        help="class names and prompts of the spec, or those in the webdataset folder",
    )
    verb.set_defaults(run=_prepare_testset)


def _add_download_retrieval_set(verbs: argparse._SubParsersAction) -> None:
    verb = verbs.add_parser(
        "download-retrieval-set",
        help="download captioned images in CLIP_benchmark's webdataset layout",
        description="Download one split of a retrieval set in CLIP_benchmark's webdataset layout, and "
        "validate it. An interrupted download resumes.",
    )
    verb.add_argument("--url", required=True, help="base URL of the folder, such as .../tree/main on the Hub")
    verb.add_argument(
        "--max-bytes", type=positive_int, required=True, help="maximum size of all files together"
    )
    verb.add_argument("--split", default="test", help="split to download")
    verb.add_argument(
        "--partial", type=Path, required=True, metavar="DIR", help="folder for an unfinished download"
    )
    verb.add_argument("--out", type=Path, required=True, metavar="DIR", help="output folder")
    verb.set_defaults(run=_download_retrieval_set)


def _prepare_testset(options: argparse.Namespace) -> None:
    from cloob.evaluate.testsets.prepare import prepare
    from cloob.evaluate.testsets.spec import load_spec

    spec = load_spec(options.spec)
    if options.prompts == "webdataset" and options.source != "webdataset":
        raise InputError("--prompts=webdataset: only --source=webdataset has its own; leave it out")
    prepare(
        spec,
        options.source,
        options.archives,
        options.out,
        options.local_files,
        options.workers,
        options.splits or ("test", "train"),
        options.prompts == "webdataset",
    )


def _download_retrieval_set(options: argparse.Namespace) -> None:
    from cloob.evaluate.retrieval_sets.load import download_retrieval_set
    from cloob.evaluate.webdataset.download import RemoteFolder

    remote = RemoteFolder(options.url, options.max_bytes)
    download_retrieval_set(remote, options.split, options.partial, options.out)
