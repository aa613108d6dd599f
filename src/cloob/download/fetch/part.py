"""Download one part of a URL table in rounds with img2dataset; every URL gets exactly one outcome."""

import time
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from tqdm import tqdm

from cloob.common.errors import InputError
from cloob.common.locks import exclusive_dir_lock
from cloob.download.fetch.error_codes import is_transient
from cloob.download.fetch.guard import Guard
from cloob.download.fetch.round import FetchOptions, ImageOptions, download_round
from cloob.download.ledger import SCHEMA, describe_urls, read_part, write_ledger


def fetch_part(
    url_table: Path,
    part: int,
    num_parts: int,
    folder: Path,
    ledger: Path,
    image_options: ImageOptions,
    fetch_options: FetchOptions,
    guard: Guard,
) -> Counter[str]:
    """Download, or resume downloading, part `part` of `num_parts` (from 0); return the URLs by outcome.

    The images are stored in webdataset tars below `folder`, scaled down to fit `image_size` with their aspect
    ratio preserved; images that fit keep their bytes. Transient failures are retried in the next round. The
    ledger is written last, next to `folder`. Raises `InputError` if the folder is in use or was not created
    by a download, the part does not exist, img2dataset fails, or a URL does not have exactly one outcome.
    """
    if ledger.absolute().parent != folder.absolute().parent:
        raise InputError(f"{ledger}: must be next to {folder}: it stores paths relative to its own folder")
    urls = read_part(url_table, part, num_parts)
    rows = SCHEMA.empty_table()
    with exclusive_dir_lock(folder):
        # Temporary files of a killed process, and only these: the folder may belong to somebody else.
        for temporary in (*folder.glob(".round_*_urls.*"), *ledger.parent.glob(f".{ledger.stem}.*")):
            temporary.unlink()
        pending = np.arange(len(urls))
        for number in range(fetch_options.retry_rounds):
            if not len(pending):
                break
            title = f"{folder} round {number + 1} of {fetch_options.retry_rounds}"
            if number:
                _pause(folder / f"round_{number - 1}", fetch_options.seconds_between_rounds, title)
            result = download_round(
                folder / f"round_{number}", urls.take(pending), image_options, fetch_options, guard, title
            )
            tar = pc.binary_join_element_wise(folder.name, result["tar"], "/")
            result = result.set_column(result.schema.get_field_index("tar"), "tar", tar)
            result = result.append_column("round", pa.array(np.full(len(pending), number, dtype=np.int8)))
            # The rows of this round replace those of the URLs that it retried.
            order = np.arange(len(urls))
            order[pending] = len(rows) + np.arange(len(pending))
            rows = pa.concat_tables([rows, result.select(SCHEMA.names)]).take(order)
            pending = np.flatnonzero(_is_transient(rows["outcome"]))
        write_ledger(ledger, rows, describe_urls(urls, part, num_parts))
    return Counter(
        {entry["values"]: entry["counts"] for entry in pc.value_counts(rows["outcome"]).to_pylist()}
    )


def _is_transient(outcomes: pa.ChunkedArray) -> np.ndarray:
    transient = [outcome for outcome in outcomes.unique().to_pylist() if is_transient(outcome)]
    return pc.is_in(outcomes, value_set=pa.array(transient, pa.string())).to_numpy()


def _pause(previous_round: Path, seconds: int, title: str) -> None:
    """Wait until `seconds` after the end of the previous round, so that servers and network can recover."""
    ended = max(path.stat().st_mtime for path in previous_round.iterdir())
    remaining = min(seconds, int(ended + seconds - time.time()))
    if remaining > 0:
        for _ in tqdm(range(remaining), desc=f"{title}: waiting", unit="s"):
            time.sleep(1)
