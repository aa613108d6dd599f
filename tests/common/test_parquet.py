from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cloob.common.parquet import open_parquet

GROUPS, ROWS, BYTES = 20, 1_000, 1_000


@pytest.fixture
def incompressible_table(tmp_path: Path) -> Path:
    path = tmp_path / "table.parquet"
    octets = np.random.default_rng(0).bytes(GROUPS * ROWS * BYTES)
    values = [octets[start : start + BYTES] for start in range(0, len(octets), BYTES)]
    table = pa.table({"value": pa.array(values, pa.binary(BYTES)), "row": range(GROUPS * ROWS)})
    pq.write_table(table, path, row_group_size=ROWS)
    return path


def test_memory_of_reading_in_batches_does_not_grow_with_the_file(incompressible_table: Path):
    before, peak, rows = pa.total_allocated_bytes(), 0, 0
    with open_parquet(incompressible_table) as file:
        for batch in file.iter_batches(100, use_threads=False):
            peak = max(peak, pa.total_allocated_bytes() - before)
            rows += len(batch)
    assert rows == GROUPS * ROWS
    assert peak < GROUPS * ROWS * BYTES / 4
