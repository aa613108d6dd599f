"""img2dataset in a process of its own: `python -m cloob.download.fetch.img2dataset_job JOB`.

JOB is a JSON object: `options` are keyword arguments of `img2dataset.download`, `guard` those of
`guard.Guard`, and `requests_per_second` is the pace. The process holds the library's signal handler, its
chatter and its workers apart from us, and ends with all its workers as soon as its standard input closes:
when the parent is killed, nobody goes on writing.

It ends as well where one of its processes cannot write: img2dataset would retry in silence, or wait for ever
for a thread. Standard input is a socket, to which the number of that error is written for the parent.
"""

import errno
import json
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import wraps
from multiprocessing import popen_spawn_posix
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

from cloob.common.errors import io_errors_at
from cloob.download.fetch.error_codes import is_transient, outcome_of
from cloob.download.fetch.guard import Guard, install
from cloob.download.fetch.rate_limit import Pace
from cloob.images.decoding import ImageError, decode_rgb

# Every spawned worker imports this module first, then img2dataset, which imports webdataset, which
# imports torch where there is one and uses nothing of it: half of the time a worker needs to start.
sys.modules["torch"] = None  # type: ignore[assignment]
# Nor does it use wandb unless asked: a quarter of the rest.
sys.modules["wandb"] = ModuleType("wandb")
os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"
# Tells a worker what to install.
_RULES = "CLOOB_FETCH_RULES"


# Added to the number of a worker's error of writing it is the worker's exit status.
_UNWRITABLE = 100


def _install_rules(fail: Callable[[int], Any]) -> None:
    rules = json.loads(os.environ[_RULES])
    guard = Guard(**rules["guard"])
    _decode_by_policy(guard.max_pixels)
    _retry_what_may_pass()
    _end_where_unwritable(fail)
    install(guard, Pace(Path(rules["pace"]), rules["requests_per_second"]))


def _end_where_unwritable(fail: Callable[[int], Any]) -> None:
    """Call `fail` with the number of any error of writing, to the log too."""
    from fsspec.implementations.local import LocalFileOpener, LocalFileSystem

    def ending(function: Callable) -> Callable:
        @wraps(function)
        def call(*arguments: Any, **options: Any) -> Any:
            try:
                return function(*arguments, **options)
            except OSError as error:
                fail(error.errno or errno.EIO)
                raise

        return call

    class Log:
        """A text stream, every writing of which is watched."""

        def __init__(self, stream: Any) -> None:
            self._stream = stream
            self.write, self.flush = ending(stream.write), ending(stream.flush)

        def __getattr__(self, name: str) -> Any:
            return getattr(self._stream, name)

    sys.stdout, sys.stderr = Log(sys.stdout), Log(sys.stderr)  # type: ignore[assignment]
    for owner, names in (
        (LocalFileOpener, ("_open", "write", "flush", "close", "__exit__")),
        (LocalFileSystem, ("mkdir",)),
    ):
        for name in names:
            setattr(owner, name, ending(getattr(owner, name)))


def _retry_what_may_pass() -> None:
    """Have img2dataset not retry what its server, or the guard, has refused for good."""
    from img2dataset import downloader

    def download_with_retry(row: Any, timeout: Any, retries: int, *arguments: Any, **options: Any) -> Any:
        for _ in range(retries + 1):
            key, stream, error = downloader.download_image(row, timeout, *arguments, **options)
            if error is None or not is_transient(outcome_of("failed_to_download", error)):
                break
        return key, stream, error

    downloader.download_image_with_retry = download_with_retry


def _decode_by_policy(max_pixels: int) -> None:
    """Have img2dataset decode as all stages do (`cloob.images.decoding`), not as OpenCV does.

    JPEGs that fit keep their bytes, EXIF and all; what is scaled or in another format is encoded again,
    loses its EXIF and has to be upright. OpenCV ignores the orientation of PNG and WebP, cuts 16 bits off at
    255 and fills what is missing of a truncated file with gray.
    """
    import cv2
    import numpy as np

    def decode(content: Any, _: int) -> Any:
        try:
            image = decode_rgb(bytes(content), max_pixels)
        except ImageError as error:
            reason = error.reason if len(content) else "empty_file"
            raise ValueError(f"undecoded image: {reason}") from None
        return cv2.cvtColor(np.asarray(image), cv2.COLOR_RGB2BGR)  # OpenCV's order is blue, green, red

    cv2.imdecode = decode


def _run(options: dict[str, Any], **rules: Any) -> None:
    with tempfile.NamedTemporaryFile(prefix="cloob_pace_") as pace:
        with io_errors_at(pace.name):
            Pace.make(Path(pace.name))
        os.environ[_RULES] = json.dumps(rules | {"pace": pace.name})

        def end(number: int | None = None) -> NoReturn:
            if number is not None:
                with suppress(OSError):  # the parent has ended
                    os.write(sys.stdin.fileno(), b"%d\n" % number)
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
                if status is not None and status >= _UNWRITABLE:
                    end(status - _UNWRITABLE)
                if status not in (None, 0, -signal.SIGTERM):  # that is how the pool ends them itself
                    print(f"a worker has died with status {status}", file=sys.stderr, flush=True)
                    end()
                return status

        popen_spawn_posix.Popen = Watched  # type: ignore[misc]
        threading.Thread(target=end_with_parent, daemon=True).start()
        _install_rules(fail=end)
        from img2dataset import download

        download(**options)


if __name__ == "__main__":
    _run(**json.loads(sys.argv[1]))
elif __name__ == "__mp_main__":  # in the workers that it spawns, which import it by this name
    _install_rules(fail=lambda number: os._exit(_UNWRITABLE + number))
