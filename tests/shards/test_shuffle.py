"""The global shuffle of a million rows without images: exact, and in the memory of a few buckets."""

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
from cloob.shards.statistics import corpus_statistics
from cloob.shards.validate import VALIDATION_SCHEMA
from tests.helpers.peak_memory import PEAK_KILOBYTES

CHUNKS, ROWS_PER_CHUNK, SAMPLES_PER_SHARD = 100, 10_000, 7_000


def write_tables(folder: Path, chunks: int, rows: int) -> list[Path]:
    """Validation tables: every tenth row is rejected, every seventh image is one of 50 repeated ones."""
    folder.mkdir()
    rng, paths = np.random.default_rng(0), []
    repeated = np.array([sha256(bytes([number])).hexdigest() for number in range(50)])
    for chunk in range(chunks):
        numbers = np.arange(chunk * rows, (chunk + 1) * rows)
        digests = np.char.add(np.char.zfill(numbers.astype(str), 16), "f" * 48)
        digests = np.where(numbers % 7 == 0, repeated[numbers // 7 % 50], digests)
        columns = {
            "uid": np.char.zfill(numbers.astype(str), 9),
            "shuffle_key": rng.integers(0, 2**64, rows, dtype=np.uint64),
            "outcome": np.where(numbers % 10 == 3, "truncated_image", "kept"),
            "sha256": digests,
            "width": rng.integers(100, 513, rows),
            "height": rng.integers(100, 513, rows),
            "perceptual_hash": rng.bytes(32 * rows),
            "words": rng.integers(1, 40, rows),
            "exceeds_context": np.zeros(rows, dtype=bool),
            "reencoded": numbers % 100 == 0,
            "file": np.full(rows, f"parts/{chunk:04d}/00000.tar"),
            "offset": numbers % rows * 50_000,
            "length": rng.integers(10_000, 90_000, rows),
            "caption": np.char.add("a caption of the usual length, number ", numbers.astype(str)),
            "record": np.char.add('{"url": "http://somewhere.example/' + "x" * 300, numbers.astype(str)),
        }
        hashes = columns["perceptual_hash"]
        columns["perceptual_hash"] = [hashes[32 * row : 32 * row + 32] for row in range(rows)]
        arrays = [pa.array(columns[field.name]).cast(field.type) for field in VALIDATION_SCHEMA]
        paths.append(folder / f"{chunk:06d}.parquet")
        pq.write_table(pa.Table.from_arrays(arrays, schema=VALIDATION_SCHEMA), paths[-1])
    return paths


SHUFFLE = f"""
import json, sys
from pathlib import Path
import pyarrow as pa
from cloob.shards.held_out import HeldOutImages, exclude_held_out
from cloob.shards.shuffle import shuffle
folder = Path(sys.argv[1])
before = peak_kilobytes()
paths = sorted((folder / "tables").glob("*.parquet"))
hashes = pa.nulls(2, pa.binary(32))
splits, keys = pa.array(["cc3m/validation"] * 2).dictionary_encode(), pa.array(["a", "b"])
held_out = HeldOutImages(splits, keys, pa.array(sys.argv[2:], pa.string()), hashes)
tables = exclude_held_out(paths, held_out, 20, processes=1)
num_rows, samples_per_shard = {CHUNKS * ROWS_PER_CHUNK}, {SAMPLES_PER_SHARD}
outcomes = shuffle(tables, num_rows, folder / "plan.parquet", folder / "ledger.parquet", samples_per_shard)
print(json.dumps(outcomes), peak_kilobytes() - before, sep="\\n")
"""
Shuffled = tuple[list[Path], Path, dict[str, int], int]


@pytest.fixture(scope="module")
def million_rows(tmp_path_factory: pytest.TempPathFactory) -> Shuffled:
    """Tables, folder of plan and ledger, outcomes, peak KB; two of the 50 repeated images are held out."""
    folder = tmp_path_factory.mktemp("million_rows")
    paths = write_tables(folder / "tables", CHUNKS, ROWS_PER_CHUNK)
    held_out = [sha256(bytes([number])).hexdigest() for number in (0, 1)]
    command = [sys.executable, "-c", PEAK_KILOBYTES + SHUFFLE, folder, *held_out]
    outcomes, kilobytes = subprocess.run(
        command, capture_output=True, check=True, text=True
    ).stdout.splitlines()
    return paths, folder, json.loads(outcomes), int(kilobytes)


def test_row_accounting_of_a_million_rows_is_exact(
    million_rows: Shuffled,
) -> None:
    _, folder, outcomes, _ = million_rows
    numbers = np.arange(CHUNKS * ROWS_PER_CHUNK)
    rejected = numbers % 10 == 3
    in_validation = (numbers % 7 == 0) & (numbers // 7 % 50 < 2) & ~rejected
    expected = np.where(rejected, "truncated_image", np.where(in_validation, "in_validation", "kept"))
    ledger = pq.read_table(folder / "ledger.parquet")
    assert ledger["uid"].to_pylist() == [f"{number:09d}" for number in numbers]
    assert (ledger["outcome"].to_numpy() == expected).all()
    assert outcomes == dict(zip(*np.unique(expected, return_counts=True), strict=True))
    assert pq.read_metadata(folder / "plan.parquet").num_rows == outcomes["kept"]


def test_plan_contains_kept_rows_sorted_by_shuffle_key_with_one_row_group_per_shard(
    million_rows: Shuffled,
) -> None:
    paths, folder, outcomes, _ = million_rows
    columns = ["uid", "shuffle_key", "caption", "offset"]
    all_rows = pa.concat_tables([pq.read_table(path, columns=columns) for path in paths])
    kept = pc.equal(pq.read_table(folder / "ledger.parquet")["outcome"], "kept")
    expected = all_rows.filter(kept)
    expected = expected.take(pa.array(np.argsort(expected["shuffle_key"].to_numpy())))
    assert pq.read_table(folder / "plan.parquet", columns=columns).equals(expected)
    plan = pq.read_metadata(folder / "plan.parquet")
    sizes = [plan.row_group(group).num_rows for group in range(plan.num_row_groups)]
    assert set(sizes[:-1]) == {SAMPLES_PER_SHARD} and sum(sizes) == outcomes["kept"]
    assert list(folder.glob("bucket*")) == []


def test_neighboring_samples_of_a_shard_are_unrelated(million_rows: Shuffled) -> None:
    shard = pq.ParquetFile(million_rows[1] / "plan.parquet").read_row_group(3, columns=["uid"])
    rows = np.array(shard["uid"].to_pylist()).astype(int)
    assert len(np.unique(rows // ROWS_PER_CHUNK)) == CHUNKS  # samples of every chunk
    assert abs(np.corrcoef(rows[:-1], rows[1:])[0, 1]) < 0.05


def test_statistics_describe_the_plan(million_rows: Shuffled) -> None:
    plan = pq.read_table(million_rows[1] / "plan.parquet", columns=["width", "height", "sha256", "reencoded"])
    statistics = corpus_statistics(million_rows[1] / "plan.parquet")
    assert statistics["duplicates"] == len(plan) - pc.count_distinct(plan["sha256"]).as_py() > 100_000
    assert statistics["reencoded"] == pc.sum(plan["reencoded"]).as_py()
    width = plan["width"].to_numpy()
    assert statistics["width"]["median"] == np.median(width) and statistics["width"]["maximum"] == 512
    assert sum(statistics["width"]["counts"]) == len(plan)
    bin_index = statistics["width"]["edges"].index(320.0)
    assert statistics["width"]["counts"][bin_index] == ((width >= 320) & (width < 352)).sum()


def test_peak_memory_is_that_of_a_few_buckets(million_rows: Shuffled) -> None:
    # One bucket of 100,000 rows, the write buffers of ten buckets, and what Arrow's allocator keeps.
    assert million_rows[3] < 500_000


def test_duplicate_row_raises_input_error(tmp_path: Path) -> None:
    paths = write_tables(tmp_path / "tables", 1, 100)
    with pytest.raises(InputError, match=r"row 0000000\d\d occurs twice"):
        tables = exclude_held_out([*paths, *paths], None, 20, processes=1)
        shuffle(tables, 200, tmp_path / "plan.parquet", tmp_path / "l.parquet", 10)
