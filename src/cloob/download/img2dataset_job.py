"""img2dataset in a process of its own: `python -m cloob.download.img2dataset_job JOB`.

JOB is a JSON object: `options` are keyword arguments of `img2dataset.download`, `guard` those of
`guard.Guard`, and `requests_per_second` is the pace. The process holds the library's signal handler, its
chatter and its workers apart from us, and ends with all its workers as soon as its standard input closes:
when the parent is killed, nobody goes on writing.
"""

import json
import os
import signal
import sys
import tempfile
import threading
from multiprocessing import popen_spawn_posix
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

from cloob.download.guard import Guard, install
from cloob.download.pace import Pace

# Every spawned worker imports this module first, then img2dataset, which imports webdataset, which
# imports torch where there is one and uses nothing of it: half of the time a worker needs to start.
sys.modules["torch"] = None  # type: ignore[assignment]
# Nor does it use wandb unless asked: a quarter of the rest.
sys.modules["wandb"] = ModuleType("wandb")
os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"
# Tells a worker what to install.
_RULES = "CLOOB_FETCH_RULES"


def _install_rules() -> None:
    rules = json.loads(os.environ[_RULES])
    guard = Guard(**rules["guard"])
    # OpenCV's own check, for formats whose header nobody else here can read.
    os.environ["OPENCV_IO_MAX_IMAGE_PIXELS"] = str(guard.maximum_pixels)
    _decode_as_seen()
    install(guard, Pace(Path(rules["pace"]), rules["requests_per_second"]))


def _decode_as_seen() -> None:
    """Have OpenCV turn JPEGs as their EXIF says, and make 8 bits of 16; img2dataset asks it for neither.

    JPEGs that fit keep their bytes, EXIF and all; what is scaled loses its EXIF and has to lie upright. Of
    16 bits the encoder would cut off what is above 255: all white.
    """
    import cv2

    decode = cv2.imdecode

    def decode_as_seen(content: Any, flags: int) -> Any:
        seen = decode(content, cv2.IMREAD_COLOR if bytes(content[:2]) == b"\xff\xd8" else flags)
        return seen if seen is None or seen.dtype == "uint8" else decode(content, cv2.IMREAD_COLOR)

    cv2.imdecode = decode_as_seen


def _run(options: dict[str, Any], **rules: Any) -> None:
    with tempfile.NamedTemporaryFile(prefix="cloob_pace_") as pace:
        Pace.make(Path(pace.name))
        os.environ[_RULES] = json.dumps(rules | {"pace": pace.name})

        def end() -> NoReturn:
            Path(pace.name).unlink(missing_ok=True)
            os.killpg(os.getpgrp(), signal.SIGKILL)
            os._exit(1)  # not reached: it is ours, too

        def end_with_parent() -> None:
            os.read(sys.stdin.fileno(), 1)
            end()

        class Watched(popen_spawn_posix.Popen):
            """The pool would wait for ever for what a killed worker was at."""

            def poll(self, flag: int = os.WNOHANG) -> int | None:
                status = super().poll(flag)
                if status not in (None, 0, -signal.SIGTERM):  # that is how the pool ends them itself
                    print(f"a worker has died with status {status}", file=sys.stderr, flush=True)
                    end()
                return status

        popen_spawn_posix.Popen = Watched  # type: ignore[misc]
        threading.Thread(target=end_with_parent, daemon=True).start()
        _install_rules()
        from img2dataset import download

        download(**options)


if __name__ == "__main__":
    _run(**json.loads(sys.argv[1]))
elif __name__ == "__mp_main__":  # in the workers that it spawns, which import it by this name
    _install_rules()
