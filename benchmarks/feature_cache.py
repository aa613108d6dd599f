"""Peak memory of the feature cache: writing and reading features, and preparing them for a linear probe.

Random features of two kinds (2,048 and 1,024 values per image, as RN50's before and after its projection),
each task in a process of its own: writing; reading; selecting the training and validation images of one kind
for the linear probe, of features that are in the cache, and of features that were written before by the same
process. Prints the peak of resident memory beyond that before the task, relative to
the size of the features, with and without the pages of memory-mapped files, which the kernel can drop. To
measure an older version of this project, run this script with its `src` on PYTHONPATH.
"""

import argparse
import subprocess
import sys
import tempfile

KEY = {"of": "random features"}
_TASK = """
import sys, threading, time
from pathlib import Path
import torch
from cloob.evaluate.features.cache import cached
from cloob.evaluate.protocols.linear_probe import gather_rows

def memory(*fields):
    status = Path("/proc/self/status").read_text()
    return sum(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith(fields))

folder, task, images = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
widths = {"before": 2048, "after": 1024}

def compute():
    assert task in ("writing", "writing and probing")
    tensors = {name: torch.empty(images, width) for name, width in widths.items()}
    for tensor in tensors.values():
        for rows in tensor.split(4096):
            rows.normal_()
    return tensors

peaks = {"all": 0, "without mapped files": 0}
def watch():
    while True:
        peaks["all"] = max(peaks["all"], memory("VmRSS"))
        peaks["without mapped files"] = max(peaks["without mapped files"], memory("RssAnon"))
        time.sleep(0.002)

cached(folder / "warm-up", "set", {}, lambda: {"after": torch.ones(4096, 8)})
before = {"all": memory("VmRSS"), "without mapped files": memory("RssAnon")}
threading.Thread(target=watch, daemon=True).start()
name = "other" if task == "writing and probing" else "set"
start, cpu = time.perf_counter(), time.process_time()
tensors = cached(folder, name, {"of": "random features"}, compute)
if "probing" in task:
    mask = torch.rand(images) < 0.2
    release = [tensors.release_pages] if hasattr(tensors, "release_pages") else []
    parts = [(tensors["before"], torch.nonzero(selected)[:, 0], *release) for selected in (~mask, mask)]
    gathered = gather_rows(parts, torch.device("cpu"))
seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
time.sleep(0.01)
size = 4 * images * sum(widths.values())
print(*((peaks[kind] - before[kind]) / size for kind in peaks), seconds, cpu)
"""


def main() -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=100_000, help="12 KB each")
    options = parser.parse_args()
    print(f"{options.images:,} images, {options.images * 4 * 3072 / 1e9:.1f} GB of features\n")
    print("| task | peak ÷ size | without mapped files | seconds | CPU s |")
    print("|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for task in ("writing", "reading", "probing", "writing and probing"):
            arguments = [sys.executable, "-c", _TASK, folder, task, str(options.images)]
            completed = subprocess.run(arguments, capture_output=True, text=True, check=True)
            peak, anonymous, seconds, cpu = map(float, completed.stdout.split())
            print(f"| {task} | {peak:.2f} | {anonymous:.2f} | {seconds:.1f} | {cpu:.1f} |", flush=True)


if __name__ == "__main__":
    main()
