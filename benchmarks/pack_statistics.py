"""Memory and time of the statistics that packing computes from the plan of all samples.

A plan of random samples is generated (about 0.3 KB of disk per row; 10,000 rows per row group), and the
statistics are computed in a process of its own. To measure an older version of this project, run this script
with its `src` on PYTHONPATH.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from cloob.shards.validate import VALIDATION_SCHEMA

_ROWS_PER_GROUP = 10_000
_STATISTICS = """
import json, re, sys, time
from pathlib import Path
import numpy as np
import pyarrow.parquet as pq
from cloob.shards.statistics import corpus_statistics

def memory(field):
    return int(re.search(field + r":\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) * 1024

before = memory("VmRSS")
start, cpu = time.perf_counter(), time.process_time()
statistics = corpus_statistics(Path(sys.argv[1]))
seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
print(memory("VmHWM") - before, seconds, cpu)
print(json.dumps(statistics))
"""


def write_plan(path: Path, rows: int) -> None:
    """A plan of random images, of which a few are duplicates or have no perceptual hash."""
    generator = np.random.default_rng(0)
    with pq.ParquetWriter(path, VALIDATION_SCHEMA, compression="zstd") as writer:
        for start in range(0, rows, _ROWS_PER_GROUP):
            count = min(_ROWS_PER_GROUP, rows - start)
            text, octets = generator.bytes(32 * count).hex(), generator.bytes(32 * count)
            digests = [text[position : position + 64] for position in range(0, 64 * count, 64)]
            digests[count - count // 100 :] = digests[: count // 100]
            hashes = [octets[position : position + 32] for position in range(0, 32 * (count - 1), 32)] + [
                None
            ]
            columns = {
                "uid": np.arange(start, start + count).astype(str),
                "sha256": digests,
                "width": generator.integers(64, 513, count),
                "height": generator.integers(64, 513, count),
                "perceptual_hash": hashes,
                "words": generator.poisson(10, count),
                "exceeds_context": generator.random(count) < 0.01,
                "reencoded": generator.random(count) < 0.1,
                "length": generator.lognormal(10.5, 0.5, count).astype(np.int64),
            }
            missing = {name: pa.nulls(count) for name in VALIDATION_SCHEMA.names if name not in columns}
            writer.write_table(
                pa.table(columns | missing).select(VALIDATION_SCHEMA.names).cast(VALIDATION_SCHEMA),
                row_group_size=_ROWS_PER_GROUP,
            )


def main() -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=14_829_396)
    parser.add_argument("--show", action="store_true", help="also print the statistics")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        plan = Path(folder, "plan.parquet")
        write_plan(plan, options.rows)
        arguments = [sys.executable, "-c", _STATISTICS, plan]
        lines = subprocess.run(arguments, capture_output=True, text=True, check=True).stdout.splitlines()
    peak, seconds, cpu = map(float, lines[0].split())
    print("| rows | GB at the peak | bytes per row | seconds | CPU s |")
    print("|---|---|---|---|---|")
    print(f"| {options.rows:,} | {peak / 1e9:.2f} | {peak / options.rows:.0f} | {seconds:.1f} | {cpu:.1f} |")
    if options.show:
        print(lines[1])


if __name__ == "__main__":
    main()
