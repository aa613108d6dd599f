"""Time and memory of `cloob download urls --reader url_list` for a list of any length.

python benchmarks/url_list.py --rows 1000000

One row in a hundred repeats an earlier URL. Needs about 200 bytes of disk space per row.
"""

import argparse
import resource
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb

ROWS = """
    SELECT 'https://host' || i % 9973 || '.example/images/' || md5(i::varchar) || '.jpg' AS url,
        'a photo of number ' || i AS caption
    FROM (SELECT i - (i % 100 = 99)::int AS i FROM range({}) numbers(i))"""


def main() -> None:
    """Write a list, read it in a process of its own, and print what that took."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows of the list")
    parser.add_argument("--folder", type=Path, help="where to put the files (default: the system's)")
    options = parser.parse_args()
    with TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        with duckdb.connect(config={"memory_limit": "1GB", "temp_directory": name}) as connection:
            tsv = f"'{folder}/list.tsv' (DELIMITER '\t', HEADER, QUOTE '')"
            connection.execute(f"COPY ({ROWS.format(options.rows)}) TO {tsv}")
        command = ["-m", "cloob", "download", "urls", "--reader=url_list", f"--list={folder}/list.tsv"]
        command += [f"--urls={folder}/urls.parquet", f"--outcomes={folder}/outcomes.csv"]
        start = time.perf_counter()
        subprocess.run([sys.executable, *command], check=True, stderr=subprocess.DEVNULL)
        seconds = time.perf_counter() - start
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        print((folder / "outcomes.csv").read_text())
    print(
        f"{options.rows:,} rows: {seconds:.0f} s, {used.ru_utime + used.ru_stime:.0f} s of CPU time, "
        f"peak memory {used.ru_maxrss / 1024:,.0f} MB"
    )


if __name__ == "__main__":
    main()
