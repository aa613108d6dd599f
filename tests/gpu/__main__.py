"""`make gpu`: measurements one after another, then the other tests in parallel, and the tables at the end."""

import os
import runpy
import subprocess
import sys

from tests.gpu.conftest import NO_DEVICE, ON_CPU
from tests.gpu.results import report_path
from tests.helpers.repository import ROOT

PYTEST = [sys.executable, "-m", "pytest", "-m", "gpu and not slow"]
PERFORMANCE = "tests/gpu/performance"


def main() -> int:
    """Return the exit status: 1 if a test failed, 0 without a device."""
    import torch

    if not ON_CPU and not torch.cuda.is_available():
        print(f"tests/gpu: skipped: {NO_DEVICE}")
        return 0
    report_path().unlink(missing_ok=True)
    # Several processes share the cores: one thread per core in each would be slow.
    threads = {"OMP_NUM_THREADS": str(max(1, len(os.sched_getaffinity(0)) // 4))}
    parallel = [*PYTEST, "-n", "4", "tests/gpu", f"--ignore={PERFORMANCE}"]
    failed = subprocess.run([*PYTEST, PERFORMANCE], cwd=ROOT, check=False).returncode
    failed |= subprocess.run(parallel, cwd=ROOT, check=False, env=os.environ | threads).returncode
    sys.argv = ["update.py", "--show", str(report_path())]
    runpy.run_path(str(ROOT / "docs" / "performance" / "update.py"), run_name="__main__")
    return int(failed != 0)


if __name__ == "__main__":
    sys.exit(main())
