"""Memory and time of opening a packed corpus, as each training process does.

Indexes of the given numbers of samples are generated (`tests/helpers/synthetic_corpora.py`; 10,000 samples
per shard), and each corpus is opened in a process of its own, with the files in the page cache. Prints
resident memory beyond that after the imports: at the peak, and after opening. To measure an older version of
this project, run this script with its `src` on PYTHONPATH.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.helpers.synthetic_corpora import write_synthetic_shards

_OPEN = """
import os, re, sys, time
from cloob.shards.reader import Shards
import pyarrow.parquet

def memory(field):
    return int(re.search(field + r":\\s+(\\d+)", open("/proc/self/status").read())[1]) * 1024 / 1e9

before = memory("VmRSS")
start, cpu = time.perf_counter(), time.process_time()
shards = Shards(sys.argv[1])
seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
print(len(shards), memory("VmHWM") - before, memory("VmRSS") - before, seconds, cpu)
"""


def main() -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--samples", type=int, nargs="+", default=[2_890_000, 14_829_396, 50_000_000], help="sizes of corpora"
    )
    options = parser.parse_args()
    print("| samples | GB at the peak | GB after opening | bytes per sample | seconds | CPU s |")
    print("|---|---|---|---|---|---|")
    for samples in options.samples:
        with tempfile.TemporaryDirectory() as folder:
            manifest = write_synthetic_shards(Path(folder), samples)
            opened = subprocess.run(
                [sys.executable, "-c", _OPEN, manifest], capture_output=True, text=True, check=False
            )
        if opened.returncode:
            print(f"| {samples:,} | {opened.stderr.strip().splitlines()[-1]} |")
            continue
        count, peak, resident, seconds, cpu = map(float, opened.stdout.split())
        print(
            f"| {samples:,} | {peak:.2f} | {resident:.2f} | {1e9 * resident / count:.0f} | {seconds:.1f} "
            f"| {cpu:.1f} |"
        )


if __name__ == "__main__":
    main()
