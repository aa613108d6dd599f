"""Run img2dataset in its own process: `python -m cloob.download.fetch.img2dataset_job JOB`.

JOB is a JSON object: `options` are the keyword arguments of `img2dataset.download`, `guard` those of
`guard.Guard`, and `requests_per_second` is the rate limit per host. The process isolates the library's signal
handler, log output and workers, and kills itself with all workers as soon as its standard input closes: when
the parent is killed, nothing keeps writing.

It also exits if one of its processes cannot write a file: img2dataset would retry silently, or wait for a
thread forever. Standard input is a socket, through which the errno is reported to the parent.
"""

import errno
import json
import multiprocessing
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
from cloob.download.fetch.rate_limit import HostRateLimiter
from cloob.images.decoding import ImageError, decode_rgb

# Every spawned worker imports this module first, then img2dataset, which imports webdataset, which imports
# torch if it is installed, without using it: half of a worker's start-up time.
sys.modules["torch"] = None  # type: ignore[assignment]
# wandb is not used either: a quarter of the remaining start-up time.
sys.modules["wandb"] = ModuleType("wandb")
os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"
# Environment variable with the worker settings as JSON.
_SETTINGS = "CLOOB_FETCH_SETTINGS"
# A worker that cannot write exits with this status plus the errno.
_WRITE_FAILED = 100


def _patch_process(on_write_error: Callable[[int], Any]) -> None:
    """Install the guard, the rate limiter and the changes to img2dataset in this process."""
    settings = json.loads(os.environ[_SETTINGS])
    guard = Guard(**settings["guard"])
    _patch_decoder(guard.max_pixels)
    _patch_retries()
    _patch_writers(on_write_error)
    limiter = HostRateLimiter(Path(settings["rate_limit_file"]), settings["requests_per_second"])
    install(guard, limiter)


def _patch_writers(on_write_error: Callable[[int], Any]) -> None:
    """Call `on_write_error` with the errno of any failed write, to the log too."""
    from fsspec.implementations.local import LocalFileOpener, LocalFileSystem

    def reporting(function: Callable) -> Callable:
        @wraps(function)
        def call(*arguments: Any, **options: Any) -> Any:
            try:
                return function(*arguments, **options)
            except OSError as error:
                on_write_error(error.errno or errno.EIO)
                raise

        return call

    class ReportingStream:
        """A text stream whose write errors are reported."""

        def __init__(self, stream: Any) -> None:
            self._stream = stream
            self.write, self.flush = reporting(stream.write), reporting(stream.flush)

        def __getattr__(self, name: str) -> Any:
            return getattr(self._stream, name)

    sys.stdout = ReportingStream(sys.stdout)
    sys.stderr = ReportingStream(sys.stderr)
    for owner, names in (
        (LocalFileOpener, ("_open", "write", "flush", "close", "__exit__")),
        (LocalFileSystem, ("mkdir",)),
    ):
        for name in names:
            setattr(owner, name, reporting(getattr(owner, name)))


def _patch_retries() -> None:
    """Make img2dataset retry only transient failures."""
    from img2dataset import downloader

    def download_with_retry(row: Any, timeout: Any, retries: int, *arguments: Any, **options: Any) -> Any:
        for _ in range(retries + 1):
            key, stream, error = downloader.download_image(row, timeout, *arguments, **options)
            if error is None or not is_transient(outcome_of("failed_to_download", error)):
                break
        return key, stream, error

    downloader.download_image_with_retry = download_with_retry


def _patch_decoder(max_pixels: int) -> None:
    """Make img2dataset decode like all stages (`cloob.images.decoding`) instead of with OpenCV.

    JPEGs that fit keep their bytes, including EXIF; other images are re-encoded without EXIF, so they must be
    upright. OpenCV ignores the orientation of PNG and WebP, clips 16-bit values at 255 and fills the missing
    part of a truncated file with gray.
    """
    import cv2
    import numpy as np

    def decode(content: Any, _: int) -> Any:
        try:
            image = decode_rgb(bytes(content), max_pixels)
        except ImageError as error:
            reason = error.reason if len(content) else "empty_file"
            raise ValueError(f"undecoded image: {reason}") from None
        return cv2.cvtColor(np.asarray(image), cv2.COLOR_RGB2BGR)  # OpenCV's channel order

    cv2.imdecode = decode  # type: ignore[assignment]


def _run(options: dict[str, Any], **settings: Any) -> None:
    semaphores = f"cloob-{os.getpid()}"  # the start of their names, in this process and its workers
    multiprocessing.current_process()._config["semprefix"] = f"/{semaphores}"  # type: ignore[attr-defined]
    with tempfile.NamedTemporaryFile(prefix="cloob_rate_limit_") as file:
        with io_errors_at(file.name):
            HostRateLimiter.create_file(Path(file.name))
        os.environ[_SETTINGS] = json.dumps(settings | {"rate_limit_file": file.name})

        def kill_group(number: int | None = None) -> NoReturn:
            """Kill this process and its workers; report an errno to the parent first."""
            if number is not None:
                with suppress(OSError):  # the parent has ended
                    os.write(sys.stdin.fileno(), b"%d\n" % number)
            Path(file.name).unlink(missing_ok=True)
            for semaphore in Path("/dev/shm").glob(f"sem.{semaphores}-*"):  # their tracker is in the group
                semaphore.unlink(missing_ok=True)
            os.killpg(os.getpgrp(), signal.SIGKILL)
            os._exit(1)  # not reached: the group includes this process

        def die_with_parent() -> None:
            os.read(sys.stdin.fileno(), 1)
            kill_group()

        class WatchedWorker(popen_spawn_posix.Popen):
            """Kills the job if a worker dies: the pool would wait forever for the task of the worker."""

            def poll(self, flag: int = os.WNOHANG) -> int | None:
                status = super().poll(flag)
                if status is not None and status >= _WRITE_FAILED:
                    kill_group(status - _WRITE_FAILED)
                if status not in (None, 0, -signal.SIGTERM):  # the pool itself terminates workers by SIGTERM
                    print(f"a worker has died with status {status}", file=sys.stderr, flush=True)
                    kill_group()
                return status

        popen_spawn_posix.Popen = WatchedWorker  # type: ignore[misc]
        threading.Thread(target=die_with_parent, daemon=True).start()
        _patch_process(on_write_error=kill_group)
        from img2dataset import download

        download(**options)


if __name__ == "__main__":
    _run(**json.loads(sys.argv[1]))
elif __name__ == "__mp_main__":  # the name under which spawned workers import this module
    _patch_process(on_write_error=lambda number: os._exit(_WRITE_FAILED + number))
