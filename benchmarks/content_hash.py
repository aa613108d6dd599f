"""Content hash of a large test set, as a linear-probe job needs it: CPU and wall time, memory, `stat` calls.

A class folder tree of small files is generated (ImageNet's training images by default: 1,281,167 files in
1,000 folders; the files have a few bytes, because only the bookkeeping is measured). Two processes then read
the hash five times, as the linear probe does: the first with an empty cache, the second with the hashes
cached. Two more count the calls, which takes time. To measure an older version of this project, run this
script with its `src` on PYTHONPATH.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

_SPEC = """\
name: large
title: Large
test: train
labels: folder_order
classes: [{classes}]
prompts: ["a photo of {{}}."]
metric: accuracy
"""

_READ = """
import os, re, sys, time
from itertools import count
from pathlib import Path
from cloob.evaluate.testsets.image_folder import LabeledFolder
from cloob.evaluate.testsets.spec import load_spec

def memory(field):
    return int(re.search(field + r":\\s+(\\d+)", open("/proc/self/status").read())[1]) * 1024 / 1e9

calls, stat = count(), os.stat
def counted(*args, **kwargs):
    next(calls)  # called in threads
    return stat(*args, **kwargs)

folder = LabeledFolder(load_spec(Path(sys.argv[1])), Path(sys.argv[2]))
before = memory("VmRSS")
if sys.argv[4] == "count":
    os.stat = counted
start, cpu = time.perf_counter(), time.process_time()
for _ in range(5):
    sha256 = folder.content(Path(sys.argv[3])).sha256
seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
print(seconds, cpu, memory("VmHWM") - before, next(calls), sha256)
"""


def main() -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--files", type=int, default=1_281_167, help="number of files")
    parser.add_argument("--folder", type=Path, help="folder for the files, kept (default: temporary)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary) / "set"
        classes = _make_files(folder, options.files)
        spec, cache = Path(temporary) / "spec.yaml", Path(temporary) / "cache"
        spec.write_text(_SPEC.format(classes=", ".join(f"class {label}" for label in range(classes))))
        print(f"{options.files:,} files\n")
        print("| hashes | seconds | CPU s | GB at the peak | stat calls | hash |\n|---|---|---|---|---|---|")
        for name in ("computed", "cached"):
            seconds, cpu, peak, _, sha256 = _read(spec, folder, cache, "time")
            calls = int(_read(spec, folder, cache.with_name("counted"), "count")[3])
            cells = (name, f"{float(seconds):.1f}", f"{float(cpu):.1f}", f"{float(peak):.2f}", f"{calls:,}")
            print(f"| {' | '.join(cells)} | {sha256[:8]} |")


def _make_files(folder: Path, count: int) -> int:
    """Write `count` files with distinct contents, unless the folder exists; return the number of classes."""
    per_class = -(-count // 1000)
    classes = -(-count // per_class)
    if folder.exists():
        return classes
    for label in range(classes):
        class_folder = folder / "train" / f"n{label:08d}"
        class_folder.mkdir(parents=True)
        for number in range(label * per_class, min(count, (label + 1) * per_class)):
            file = os.open(f"{class_folder}/{class_folder.name}_{number}.JPEG", os.O_WRONLY | os.O_CREAT)
            os.write(file, b"%d" % number)
            os.close(file)
    return classes


def _read(spec: Path, folder: Path, cache: Path, mode: str) -> list[str]:
    command = [sys.executable, "-c", _READ, spec, folder, cache, mode]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()


if __name__ == "__main__":
    main()
