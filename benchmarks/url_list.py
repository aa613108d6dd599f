"""Time and memory of `cloob download urls --reader url_list` for a list of any length.

python benchmarks/url_list.py --rows 1000000

One row in a hundred repeats an earlier URL. Needs about 200 bytes of disk space per row. With
`--duplicates-only`, only the search for repeated URLs runs, the part whose memory grows with the rows, on
shorter URLs; it takes about a fifth of the CPU time.
"""

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

ROWS = """
    SELECT 'https://host' || i % 9973 || '.example/images/' || md5(i::varchar) || '.jpg' AS url,
        'a photo of number ' || i AS caption
    FROM (SELECT i - (i % 100 = 99)::int AS i FROM range({}) numbers(i))"""

CANDIDATES = """
    SELECT 'https://host.example/' || (i - (i % 100 = 99)::int) || '.jpg' AS url, i AS "row"
    FROM range({}) numbers(i)"""
GENERATE = """
import sys
import duckdb
config = {"memory_limit": "1GB", "temp_directory": sys.argv[1]}
duckdb.connect(config=config).execute(sys.argv[2])
"""
FIND_DUPLICATES = """
import sys
from pathlib import Path
from cloob.download.corpora.url_collection import _duplicate_rows
folder = Path(sys.argv[1])
print(f"duplicates: {len(_duplicate_rows(folder / 'list.parquet', folder / 'spill')):,}")
"""


def main() -> None:
    """Write a list, read it in a process of its own, and print what that took."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows of the list")
    parser.add_argument("--folder", type=Path, help="where to put the files (default: the system's)")
    parser.add_argument("--duplicates-only", action="store_true", help="only search for repeated URLs")
    options = parser.parse_args()
    with TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        if options.duplicates_only:
            source, target = CANDIDATES, f"'{folder}/list.parquet' (ROW_GROUP_SIZE 100_000)"
            command = ["-c", FIND_DUPLICATES, str(folder)]
        else:
            source, target = ROWS, f"'{folder}/list.tsv' (DELIMITER '\t', HEADER, QUOTE '')"
            command = ["-m", "cloob", "download", "urls", "--reader=url_list", f"--list={folder}/list.tsv"]
            command += [f"--urls={folder}/urls.parquet", f"--outcomes={folder}/outcomes.csv"]
        copy = f"COPY ({source.format(options.rows)}) TO {target}"
        # In a process of its own: Linux counts the memory of the parent as that of a started process.
        subprocess.run([sys.executable, "-c", GENERATE, name, copy], check=True)
        start = time.perf_counter()
        with subprocess.Popen([sys.executable, *command], stderr=subprocess.DEVNULL) as process:
            _, status, used = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            sys.exit(f"failed with status {process.returncode}: {' '.join(command)}")
        seconds = time.perf_counter() - start
        if not options.duplicates_only:
            print((folder / "outcomes.csv").read_text())
    print(
        f"{options.rows:,} rows: {seconds:.0f} s, {used.ru_utime + used.ru_stime:.0f} s of CPU time, "
        f"peak memory {used.ru_maxrss / 1024:,.0f} MB"
    )


if __name__ == "__main__":
    main()
