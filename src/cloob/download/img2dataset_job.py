"""img2dataset in a process of its own: `python -m cloob.download.img2dataset_job OPTIONS`.

OPTIONS is a JSON object of keyword arguments of `img2dataset.download`. The process holds the
library's signal handler, its chatter and its workers apart from us, and ends with all its workers
as soon as its standard input closes: when the parent is killed, nobody goes on writing.
"""

import json
import os
import signal
import sys
import threading

# Every spawned worker imports this module first, then img2dataset, which imports webdataset, which
# imports torch where there is one and uses nothing of it: half of the time a worker needs to start.
sys.modules["torch"] = None  # type: ignore[assignment]
os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"


def _end_with_parent() -> None:
    os.read(sys.stdin.fileno(), 1)
    os.killpg(os.getpgrp(), signal.SIGKILL)


if __name__ == "__main__":
    threading.Thread(target=_end_with_parent, daemon=True).start()
    from img2dataset import download

    download(**json.loads(sys.argv[1]))
