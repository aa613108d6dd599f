"""Throughput of joining OpenAI's subset with the metadata of YFCC100M, compared with alternatives and floors.

Generates synthetic metadata of 25 columns and joins it with the package, with pandas in chunks (with the same
captions), and with DuckDB. The floors only read the lines, or only decompress the .bz2 on all cores. The
SQLite dump of 23 columns is measured likewise. The variants alternate; each runs in a separate process and
first joins a small file, so that imports are not timed. CPU time and memory include child processes. Other
load on the machine affects the wall-clock time, but hardly the CPU time.
"""

import argparse
import os
import resource
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import closing
from pathlib import Path

from yfcc_files import generate
from yfcc_peers import BASE_URL, join_sqlite_with_pandas, join_with_duckdb, join_with_pandas


def join(folder: Path, metadata: str) -> int:
    """The package's join; returns the number of URLs."""
    from cloob.download.corpora.yfcc100m import read

    urls, outcomes = folder / "urls.parquet", folder / "outcomes.csv"
    subset = folder / "subset.tsv"
    return read(urls, outcomes, folder / metadata, subset, "title_description", BASE_URL)["kept"]


def join_without_lbzip2(folder: Path, metadata: str) -> int:
    """The package's join if lbzip2 is not installed."""
    shutil.which = lambda name: None
    return join(folder, metadata)


def read_lines(folder: Path, metadata: str) -> int:
    """Floor for plain text: iterate over the lines and do nothing with them."""
    with (folder / metadata).open("rb") as file:
        return sum(1 for _ in file)


def read_sqlite(folder: Path, metadata: str) -> int:
    """Floor for the dump: SQLite counts the videos, so it reads every row to its last column."""
    with closing(sqlite3.connect(folder / metadata)) as database:
        return database.execute("SELECT count(*) FROM photos WHERE c24 = 1").fetchone()[0]


def decompress(folder: Path, metadata: str) -> int:
    """Floor for .bz2: decompress on all cores and discard the output."""
    subprocess.run(["lbzip2", "-dc", folder / metadata], stdout=subprocess.DEVNULL, check=True)
    return 0


def decompress_without_lbzip2(folder: Path, metadata: str) -> int:
    """The same with the Python package."""
    import indexed_bzip2

    with indexed_bzip2.open(str(folder / metadata), parallelization=os.cpu_count() or 1) as file:
        while file.read(1 << 21):
            pass
    return 0


PANDAS, PANDAS_SQLITE, DUCKDB = "pandas in chunks", "pandas in chunks, SQLite", "DuckDB"
FLOOR_TEXT, FLOOR_SQLITE = "floor: reading the lines", "floor: reading SQLite"
FLOOR_LBZIP2, FLOOR_BZIP2 = "floor: lbzip2", "floor: indexed_bzip2"
VARIANTS = {
    "ours": (join, "meta.tsv"),
    PANDAS: (join_with_pandas, "meta.tsv"),
    DUCKDB: (join_with_duckdb, "meta.tsv"),
    FLOOR_TEXT: (read_lines, "meta.tsv"),
    "ours, .bz2": (join, "meta.tsv.bz2"),
    FLOOR_LBZIP2: (decompress, "meta.tsv.bz2"),
    "ours, .bz2 without lbzip2": (join_without_lbzip2, "meta.tsv.bz2"),
    FLOOR_BZIP2: (decompress_without_lbzip2, "meta.tsv.bz2"),
    "ours, SQLite": (join, "meta.sql"),
    PANDAS_SQLITE: (join_sqlite_with_pandas, "meta.sql"),
    FLOOR_SQLITE: (read_sqlite, "meta.sql"),
}
REFERENCES = {  # pandas and the floor for each variant
    "ours": (PANDAS, FLOOR_TEXT),
    DUCKDB: (PANDAS, FLOOR_TEXT),
    "ours, .bz2": (PANDAS, FLOOR_LBZIP2),
    "ours, .bz2 without lbzip2": (PANDAS, FLOOR_BZIP2),
    "ours, SQLite": (PANDAS_SQLITE, FLOOR_SQLITE),
}
NEED_LBZIP2 = ("ours, .bz2", FLOOR_LBZIP2)


def measure(variant: str, folder: Path) -> tuple[float, float, float, int]:
    """Seconds, CPU seconds, peak MB and number of URLs of a variant, in a separate process."""
    command = [sys.executable, __file__, "--variant", variant, "--folder", str(folder)]
    completed = subprocess.run(command, capture_output=True, text=True, check=True)
    seconds, cpu, memory, urls = completed.stdout.split()
    return float(seconds), float(cpu), float(memory), int(urls)


def run_variant(variant: str, folder: Path) -> None:
    """Measure a variant and print the values for `measure`."""
    function, metadata = VARIANTS[variant]
    function(folder / "small", metadata)
    start, before = time.perf_counter(), os.times()
    urls = function(folder, metadata)
    seconds, after = time.perf_counter() - start, os.times()
    cpu = sum(after[:4]) - sum(before[:4])
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    print(seconds, cpu, sum(usage.ru_maxrss for usage in usages) / 1000, urls)


def check_agreement(folder: Path) -> None:
    """The package's table must equal the one that pandas has written."""
    import pandas as pd

    columns = ["url", "caption", "photo_id"]
    ours, other = (pd.read_parquet(folder / f"{name}.parquet")[columns] for name in ("urls", "pandas_0"))
    pd.testing.assert_frame_equal(ours, other.astype(str), check_dtype=False)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=500_000, help="rows of metadata (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=3, help="default: %(default)s")
    parser.add_argument(
        "--markup",
        type=float,
        default=0.2,
        help="fraction of words with a tag, an accent or an ampersand (default: %(default)s)",
    )
    parser.add_argument("--only", nargs="+", choices=VARIANTS, metavar="VARIANT", help="measure only these")
    parser.add_argument("--variant", choices=VARIANTS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.variant:
        run_variant(arguments.variant, arguments.folder)
        return
    variants = arguments.only or [
        variant for variant in VARIANTS if shutil.which("lbzip2") or variant not in NEED_LBZIP2
    ]
    seconds: dict[str, list[float]] = {variant: [] for variant in variants}
    cpu: dict[str, list[float]] = {variant: [] for variant in variants}
    memory: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "small").mkdir()
        files = {VARIANTS[variant][1] for variant in variants}
        generate(folder / "small", 1000, arguments.markup, files)
        generate(folder, arguments.rows, arguments.markup, files)
        size = (folder / "meta.tsv").stat().st_size
        url_counts = set()
        for _ in range(arguments.repeats):
            for variant in variants:
                wall_seconds, cpu_seconds, peak, urls = measure(variant, folder)
                seconds[variant].append(wall_seconds)
                cpu[variant].append(cpu_seconds)
                memory[variant] = max(memory[variant], round(peak))
                if not variant.startswith("floor"):
                    url_counts.add(urls)
        if {"ours", PANDAS} <= set(variants):
            check_agreement(folder / "small")
    assert len(url_counts) <= 1, f"the variants disagree: {url_counts} URLs"
    medians = {variant: statistics.median(times) for variant, times in seconds.items()}
    print(
        f"{arguments.rows:,} rows of {size / arguments.rows:.0f} bytes, {max(url_counts, default=0):,} URLs\n"
    )
    print(
        "| variant | rows/s | × pandas | fraction of the floor | CPU µs per row | peak MB |\n"
        "|---|---|---|---|---|---|"
    )
    for variant, median in medians.items():
        pandas, bound = (medians.get(other) for other in REFERENCES.get(variant, (None, None)))
        speedup = f"{pandas / median:.2f}" if pandas else ""
        fraction = f"{bound / median:.2f}" if bound else ""
        cpu_per_row = statistics.median(cpu[variant]) / arguments.rows * 1e6
        rate = f"{arguments.rows / median:,.0f}"
        print(f"| {variant} | {rate} | {speedup} | {fraction} | {cpu_per_row:.2f} | {memory[variant]:,} |")


if __name__ == "__main__":
    main()
