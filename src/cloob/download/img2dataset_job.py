"""img2dataset in a process of its own: `python -m cloob.download.img2dataset_job OPTIONS`.

OPTIONS is a JSON object of keyword arguments of `img2dataset.download`; the environment variable
`CLOOB_GUARD` holds those of `guard.Guard`, for the workers too. The process holds the library's signal
handler, its chatter and its workers apart from us, and ends with all its workers as soon as its standard
input closes: when the parent is killed, nobody goes on writing.
"""

import json
import os
import signal
import sys
import threading
from types import ModuleType

from cloob.download.guard import ENVIRONMENT, Guard, install

# Every spawned worker imports this module first, then img2dataset, which imports webdataset, which
# imports torch where there is one and uses nothing of it: half of the time a worker needs to start.
sys.modules["torch"] = None  # type: ignore[assignment]
# Nor does it use wandb unless asked: a quarter of the rest.
sys.modules["wandb"] = ModuleType("wandb")
os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"


def _install_guard() -> None:
    guard = Guard(**json.loads(os.environ[ENVIRONMENT]))
    # OpenCV's own check, for formats whose header nobody else here can read.
    os.environ["OPENCV_IO_MAX_IMAGE_PIXELS"] = str(guard.maximum_pixels)
    install(guard)


# In the job itself, and in the workers that it spawns, which import it by another name.
if __name__ in ("__main__", "__mp_main__"):
    _install_guard()


def _end_with_parent() -> None:
    os.read(sys.stdin.fileno(), 1)
    os.killpg(os.getpgrp(), signal.SIGKILL)


if __name__ == "__main__":
    threading.Thread(target=_end_with_parent, daemon=True).start()
    from img2dataset import download

    download(**json.loads(sys.argv[1]))
