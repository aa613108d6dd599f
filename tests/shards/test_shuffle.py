"""The global order of a million rows, without images: exact, and its memory that of some buckets."""

import json
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from cloob.common.errors import InputError
from cloob.shards.held_out import exclude_held_out
from cloob.shards.shuffle import shuffle
from cloob.shards.statistics import statistics_of
from cloob.shards.validate import VALIDATION_SCHEMA

PIECES, ROWS, PER_SHARD = 100, 10_000, 7_000


def verdicts(folder: Path, pieces: int, rows: int) -> list[Path]:
    """Tables of so many rows: every tenth is refused, every seventh image is one of 50."""
    folder.mkdir()
    rng, paths = np.random.default_rng(0), []
    digests = np.array([sha256(bytes([number])).hexdigest() for number in range(50)])
    for piece in range(pieces):
        numbers = np.arange(piece * rows, (piece + 1) * rows)
        fresh = np.char.add(np.char.zfill(numbers.astype(str), 16), "f" * 48)
        fresh = np.where(numbers % 7 == 0, digests[numbers // 7 % 50], fresh)
        columns = {
            "uid": np.char.zfill(numbers.astype(str), 9),
            "position": rng.integers(0, 2**64, rows, dtype=np.uint64),
            "outcome": np.where(numbers % 10 == 3, "truncated_image", "kept"),
            "sha256": fresh,
            "width": rng.integers(100, 513, rows),
            "height": rng.integers(100, 513, rows),
            "perceptual_hash": rng.bytes(32 * rows),
            "words": rng.integers(1, 40, rows),
            "reencoded": numbers % 100 == 0,
            "file": np.full(rows, f"parts/{piece:04d}/00000.tar"),
            "offset": numbers % rows * 50_000,
            "length": rng.integers(10_000, 90_000, rows),
            "caption": np.char.add("a caption of the usual length, number ", numbers.astype(str)),
            "record": np.char.add('{"url": "http://somewhere.example/' + "x" * 300, numbers.astype(str)),
        }
        hashes = columns["perceptual_hash"]
        columns["perceptual_hash"] = [hashes[32 * row : 32 * row + 32] for row in range(rows)]
        arrays = [pa.array(columns[field.name]).cast(field.type) for field in VALIDATION_SCHEMA]
        paths.append(folder / f"{piece:06d}.parquet")
        pq.write_table(pa.Table.from_arrays(arrays, schema=VALIDATION_SCHEMA), paths[-1])
    return paths


SHUFFLE = f"""
import json, resource, sys
from pathlib import Path
import pyarrow as pa
from cloob.shards.held_out import HeldOutImages, exclude_held_out
from cloob.shards.shuffle import shuffle
folder = Path(sys.argv[1])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
paths = sorted((folder / "verdicts").glob("*.parquet"))
hashes = pa.nulls(2, pa.binary(32))
held_out = HeldOutImages(pa.array(["a", "b"]), pa.array(sys.argv[2:], pa.string()), hashes)
tables = exclude_held_out(paths, held_out, 20, processes=1)
outcomes = shuffle(tables, {PIECES * ROWS}, folder / "plan.parquet", folder / "ledger.parquet", {PER_SHARD})
print(json.dumps(outcomes), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, sep="\\n")
"""
Million = tuple[list[Path], Path, dict[str, int], int]


@pytest.fixture(scope="module")
def million(tmp_path_factory: pytest.TempPathFactory) -> Million:
    """Verdicts, folder of plan and ledger, outcomes, and KB of memory; two of 50 images are validation's."""
    folder = tmp_path_factory.mktemp("million")
    paths = verdicts(folder / "verdicts", PIECES, ROWS)
    held_out = [sha256(bytes([number])).hexdigest() for number in (0, 1)]
    command = [sys.executable, "-c", SHUFFLE, folder, *held_out]
    outcomes, kilobytes = subprocess.run(
        command, capture_output=True, check=True, text=True
    ).stdout.splitlines()
    return paths, folder, json.loads(outcomes), int(kilobytes)


def test_the_books_of_a_million_rows_balance_to_the_row(
    million: Million,
) -> None:
    _, folder, outcomes, _ = million
    numbers = np.arange(PIECES * ROWS)
    refused = numbers % 10 == 3
    of_validation = (numbers % 7 == 0) & (numbers // 7 % 50 < 2) & ~refused
    expected = np.where(refused, "truncated_image", np.where(of_validation, "in_validation", "kept"))
    ledger = pq.read_table(folder / "ledger.parquet")
    assert ledger["uid"].to_pylist() == [f"{number:09d}" for number in numbers]
    assert (ledger["outcome"].to_numpy() == expected).all()
    assert outcomes == dict(zip(*np.unique(expected, return_counts=True), strict=True))
    assert pq.read_metadata(folder / "plan.parquet").num_rows == outcomes["kept"]


def test_the_plan_is_the_kept_rows_by_position_a_row_group_per_shard(
    million: Million,
) -> None:
    paths, folder, outcomes, _ = million
    columns = ["uid", "position", "caption", "offset"]
    everything = pa.concat_tables([pq.read_table(path, columns=columns) for path in paths])
    kept = pc.equal(pq.read_table(folder / "ledger.parquet")["outcome"], "kept")
    expected = everything.filter(kept)
    expected = expected.take(pa.array(np.argsort(expected["position"].to_numpy())))
    assert pq.read_table(folder / "plan.parquet", columns=columns).equals(expected)
    plan = pq.read_metadata(folder / "plan.parquet")
    sizes = [plan.row_group(group).num_rows for group in range(plan.num_row_groups)]
    assert set(sizes[:-1]) == {PER_SHARD} and sum(sizes) == outcomes["kept"]
    assert list(folder.glob("bucket*")) == []


def test_neighbours_in_a_shard_are_unrelated(million: Million) -> None:
    shard = pq.ParquetFile(million[1] / "plan.parquet").read_row_group(3, columns=["uid"])
    rows = np.array(shard["uid"].to_pylist()).astype(int)
    assert len(np.unique(rows // ROWS)) == PIECES  # of every piece
    assert abs(np.corrcoef(rows[:-1], rows[1:])[0, 1]) < 0.05


def test_the_statistics_are_those_of_the_plan(million: Million) -> None:
    plan = pq.read_table(million[1] / "plan.parquet", columns=["width", "height", "sha256", "reencoded"])
    said = statistics_of(million[1] / "plan.parquet")
    assert said["duplicates"] == len(plan) - pc.count_distinct(plan["sha256"]).as_py() > 100_000
    assert said["reencoded"] == pc.sum(plan["reencoded"]).as_py()
    width = plan["width"].to_numpy()
    assert said["width"]["median"] == np.median(width) and said["width"]["maximum"] == 512
    assert sum(said["width"]["counts"]) == len(plan)
    inside = said["width"]["edges"].index(320.0)
    assert said["width"]["counts"][inside] == ((width >= 320) & (width < 352)).sum()


def test_the_memory_is_that_of_some_buckets(million: Million) -> None:
    # The rows are 0.45 GB; a bucket of 100 000 of them, and what waits for the ten buckets' files.
    assert million[3] < 400_000


def test_a_row_that_comes_twice_is_an_error(tmp_path: Path) -> None:
    paths = verdicts(tmp_path / "verdicts", 1, 100)
    with pytest.raises(InputError, match=r"row 0000000\d\d came in twice"):
        tables = exclude_held_out([*paths, *paths], None, 20, processes=1)
        shuffle(tables, 200, tmp_path / "plan.parquet", tmp_path / "l.parquet", 10)
