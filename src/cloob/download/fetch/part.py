"""Links to images: img2dataset fetches a part of a list, in rounds; every link ends in exactly one outcome."""

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
from cloob.download.fetch.round import Effort, Images, run_round
from cloob.download.ledger import SCHEMA, read_part, write_ledger


def fetch(
    links: Path,
    part: int,
    parts: int,
    folder: Path,
    ledger: Path,
    images: Images,
    effort: Effort,
    guard: Guard,
) -> Counter[str]:
    """Fetch a part of the links (`part` of `parts`, from 0), or go on with it; return the links by outcome.

    The images lie in webdataset tars below `folder`, scaled down to fit `image_size` with their ratio kept;
    those that fit already keep their bytes. What fails for a reason that may pass is asked again in the next
    round. The ledger is written last; `folder` must lie where it lies. Raises `InputError` where the folder
    is not ours or in use, there is no such part, img2dataset fails, or a link has no outcome or two.
    """
    if ledger.absolute().parent != folder.absolute().parent:
        raise InputError(f"{ledger}: must lie beside {folder}, as the places in it are told from there")
    wanted = read_part(links, part, parts)
    rows = SCHEMA.empty_table()
    with exclusive_dir_lock(folder):
        # Of one that was killed; whatever else lies here is not ours.
        for half in (*folder.glob(".round_*_links.*"), *ledger.parent.glob(f".{ledger.stem}.*")):
            half.unlink()
        due = np.arange(len(wanted))
        for number in range(effort.rounds):
            if not len(due):
                break
            title = f"{folder} round {number + 1} of {effort.rounds}"
            if number:
                _wait(folder / f"round_{number - 1}", effort.seconds_between_rounds, title)
            again = run_round(folder / f"round_{number}", wanted.take(due), images, effort, guard, title)
            tar = pc.binary_join_element_wise(folder.name, again["tar"], "/")
            again = again.set_column(again.schema.get_field_index("tar"), "tar", tar)
            again = again.append_column("round", pa.array(np.full(len(due), number, dtype=np.int8)))
            # Each round's rows take the place of those that it was asked to try again.
            order = np.arange(len(wanted))
            order[due] = len(rows) + np.arange(len(due))
            rows = pa.concat_tables([rows, again.select(SCHEMA.names)]).take(order)
            due = np.flatnonzero(_transient(rows["outcome"]))
        write_ledger(ledger, rows)
    return Counter(
        {entry["values"]: entry["counts"] for entry in pc.value_counts(rows["outcome"]).to_pylist()}
    )


def _transient(outcomes: pa.ChunkedArray) -> np.ndarray:
    transient = [outcome for outcome in outcomes.unique().to_pylist() if is_transient(outcome)]
    return pc.is_in(outcomes, value_set=pa.array(transient, pa.string())).to_numpy()


def _wait(before: Path, seconds: int, title: str) -> None:
    """Give the network and the servers time since the round before ended."""
    ended = max(path.stat().st_mtime for path in before.iterdir())
    left = min(seconds, int(ended + seconds - time.time()))
    if left > 0:
        for _ in tqdm(range(left), desc=f"{title}: waiting", unit="s"):
            time.sleep(1)
