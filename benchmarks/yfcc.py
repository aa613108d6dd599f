"""How fast is OpenAI's subset joined with YFCC100M's metadata, and how near to the floor?

Synthesises metadata of 25 columns and joins it, each way in a process of its own, in turns: ours; pandas in
chunks, with the same captions; and the floors: reading the lines, and unpacking the .bz2 by all cores and
nothing else. The same for the SQLite dump of 23 columns. Each way first joins a small file, so that imports
are not timed. CPU time and memory are those of the process and its children. Who shares the machine slows
the clock, but hardly the CPU time.
"""

import argparse
import html
import os
import re
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
from hashlib import md5
from pathlib import Path
from urllib.parse import unquote_plus

from yfcc_files import synthesise


def ours(folder: Path, metadata: str) -> int:
    """The package's join; links written."""
    from cloob.download.corpora.yfcc100m import read as read_yfcc100m

    out = folder / "urls.parquet", folder / "outcomes.csv"
    address = "http://bucket.example"
    return join_yfcc([folder / metadata], folder / "subset.tsv", "title_description", address, *out)["kept"]


def without_lbzip2(folder: Path, metadata: str) -> int:
    """The package's join where lbzip2 is not installed."""
    shutil.which = lambda name: None
    return ours(folder, metadata)


def plain_text(field: str) -> str:
    """What one writes to make a text plain."""
    return " ".join(html.unescape(re.sub(r"</?[A-Za-z][^<>]*>", " ", unquote_plus(field))).split())


def write_with_pandas(folder: Path, chunks: object) -> int:
    """Captions and links of chunks that hold what the subset lists (columns as in the text form)."""
    import pandas as pd

    kept = 0
    for number, chunk in enumerate(chunks):
        both = chunk[chunk[24] != "1"]
        captions = [
            f"{plain_text(title)} {plain_text(description)}".strip()
            for title, description in zip(both[8], both[9], strict=True)
        ]
        urls = [f"http://bucket.example/{one[:3]}/{one[3:6]}/{one}.jpg" for one in both["hash"]]
        table = pd.DataFrame({"url": urls, "caption": captions, "photo_id": both["id"].to_numpy()})
        table = table[table.caption != ""]
        table.to_parquet(folder / f"pandas_{number}.parquet")
        kept += len(table)
    return kept


def subset_with_pandas(folder: Path) -> object:
    """The subset's list."""
    import pandas as pd

    return pd.read_csv(folder / "subset.tsv", sep="\t", names=["line", "id", "hash"], dtype=str)


def with_pandas(folder: Path, metadata: str) -> int:
    """What one writes with pandas."""
    import pandas as pd

    subset = subset_with_pandas(folder)
    chunks = pd.read_csv(
        folder / metadata,
        sep="\t",
        header=None,
        dtype=str,
        quoting=3,
        usecols=[0, 1, 2, 8, 9, 24],
        names=range(25),
        chunksize=200_000,
        keep_default_na=False,
    )
    merged = (chunk.merge(subset, left_on=[0, 1, 2], right_on=["line", "id", "hash"]) for chunk in chunks)
    return write_with_pandas(folder, merged)


def with_pandas_from_sqlite(folder: Path, metadata: str) -> int:
    """The same from the dump, by photo id and the hash that follows from the link."""
    import pandas as pd

    def hash_of(link: str) -> str:
        return "".join(f"{byte:x}" for byte in md5(link.encode()).digest())

    subset = subset_with_pandas(folder).astype({"id": int})
    with closing(sqlite3.connect(folder / metadata)) as database:
        names = {"c1": 1, "c8": 8, "c9": 9, "c16": 16, "c24": 24}
        chunks = pd.read_sql_query(f"SELECT {', '.join(names)} FROM photos", database, chunksize=200_000)
        merged = (
            chunk.rename(columns=names).merge(subset, left_on=1, right_on="id").astype({24: str})
            for chunk in chunks
        )
        return write_with_pandas(folder, (both[both[16].map(hash_of) == both["hash"]] for both in merged))


def reading(folder: Path, metadata: str) -> int:
    """The floor of plain text: all lines, and nothing done with them."""
    with (folder / metadata).open("rb") as file:
        return sum(1 for _ in file)


def reading_sqlite(folder: Path, metadata: str) -> int:
    """The floor of the dump: SQLite counts the videos, so reads every row to its last column."""
    with closing(sqlite3.connect(folder / metadata)) as database:
        return database.execute("SELECT count(*) FROM photos WHERE c24 = 1").fetchone()[0]


def unpacking(folder: Path, metadata: str) -> int:
    """The floor of .bz2: unpacked by all cores into nothing."""
    subprocess.run(["lbzip2", "-dc", folder / metadata], stdout=subprocess.DEVNULL, check=True)
    return 0


def unpacking_without_lbzip2(folder: Path, metadata: str) -> int:
    """The same by the Python package."""
    import indexed_bzip2

    with indexed_bzip2.open(str(folder / metadata), parallelization=os.cpu_count() or 1) as file:
        while file.read(1 << 21):
            pass
    return 0


PANDAS, PANDAS_SQLITE = "pandas in chunks", "pandas in chunks, SQLite"
FLOOR, FLOOR_SQLITE = "floor: reading the lines", "floor: reading SQLite"
FLOOR_LBZIP2, FLOOR_WITHOUT = "floor: lbzip2", "floor: indexed_bzip2"
WAYS = {
    "ours": (ours, "meta.tsv"),
    PANDAS: (with_pandas, "meta.tsv"),
    FLOOR: (reading, "meta.tsv"),
    "ours, .bz2": (ours, "meta.tsv.bz2"),
    FLOOR_LBZIP2: (unpacking, "meta.tsv.bz2"),
    "ours, .bz2, without lbzip2": (without_lbzip2, "meta.tsv.bz2"),
    FLOOR_WITHOUT: (unpacking_without_lbzip2, "meta.tsv.bz2"),
    "ours, SQLite": (ours, "meta.sql"),
    PANDAS_SQLITE: (with_pandas_from_sqlite, "meta.sql"),
    FLOOR_SQLITE: (reading_sqlite, "meta.sql"),
}
COMPARED = {  # with pandas' way, with the floor
    "ours": (PANDAS, FLOOR),
    "ours, .bz2": (PANDAS, FLOOR_LBZIP2),
    "ours, .bz2, without lbzip2": (PANDAS, FLOOR_WITHOUT),
    "ours, SQLite": (PANDAS_SQLITE, FLOOR_SQLITE),
}
NEED_LBZIP2 = ("ours, .bz2", FLOOR_LBZIP2)


def measured(way: str, folder: Path) -> tuple[float, float, float, int]:
    """Seconds, CPU seconds, peak MB and links of one way, in a process of its own."""
    command = [sys.executable, __file__, "--way", way, "--folder", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    seconds, processor, memory, links = done.stdout.split()
    return float(seconds), float(processor), float(memory), int(links)


def go(way: str, folder: Path) -> None:
    """Print what `measured` reads."""
    function, metadata = WAYS[way]
    function(folder / "small", metadata)
    begun, before = time.perf_counter(), os.times()
    links = function(folder, metadata)
    seconds, after = time.perf_counter() - begun, os.times()
    processor = sum(after[:4]) - sum(before[:4])
    whose = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    print(seconds, processor, sum(resource.getrusage(who).ru_maxrss for who in whose) / 1000, links)


def check_agreement(folder: Path) -> None:
    """Ours and pandas' must have written the same."""
    import pandas as pd

    names = ["url", "caption", "photo_id"]
    one, other = (pd.read_parquet(folder / f"{name}.parquet")[names] for name in ("urls", "pandas_0"))
    pd.testing.assert_frame_equal(one, other.astype(str), check_dtype=False)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=500_000, help="of the metadata (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=3, help="rounds (default: %(default)s)")
    parser.add_argument(
        "--odd", type=float, default=0.2, help="share of words with tags, accents, & (default: %(default)s)"
    )
    parser.add_argument("--only", nargs="+", choices=WAYS, metavar="WAY", help="these ways, not all")
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.way:
        go(options.way, options.folder)
        return
    ways = options.only or [way for way in WAYS if shutil.which("lbzip2") or way not in NEED_LBZIP2]
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    processors: dict[str, list[float]] = {way: [] for way in ways}
    memory: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "small").mkdir()
        files = {WAYS[way][1] for way in ways}
        synthesise(folder / "small", 1000, options.odd, files)
        synthesise(folder, options.rows, options.odd, files)
        size = (folder / "meta.tsv").stat().st_size
        links = set()
        for _ in range(options.repeats):
            for way in ways:
                took, processor, peak, kept = measured(way, folder)
                seconds[way].append(took)
                processors[way].append(processor)
                memory[way] = max(memory[way], round(peak))
                if not way.startswith("floor"):
                    links.add(kept)
        if {"ours", PANDAS} <= set(ways):
            check_agreement(folder / "small")
    assert len(links) <= 1, f"the ways do not agree: {links} links"
    medians = {way: statistics.median(times) for way, times in seconds.items()}
    print(f"{options.rows:,} rows of {size / options.rows:.0f} bytes, {max(links, default=0):,} links\n")
    print("| what | rows/s | × pandas | of the floor | CPU µs a row | peak MB |\n|---|---|---|---|---|---|")
    for way, median in medians.items():
        pandas, floor = (medians.get(other) for other in COMPARED.get(way, (None, None)))
        times = f"{pandas / median:.2f}" if pandas else ""
        share = f"{floor / median:.2f}" if floor else ""
        processor = statistics.median(processors[way]) / options.rows * 1e6
        rate = f"{options.rows / median:,.0f}"
        print(f"| {way} | {rate} | {times} | {share} | {processor:.2f} | {memory[way]:,} |")


if __name__ == "__main__":
    main()
