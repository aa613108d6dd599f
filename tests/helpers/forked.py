"""Run `cloob` in forks of one prepared process: importing torch and open_clip takes five seconds of CPU time.

The prepared process is the fork server of `multiprocessing`, one per test process. It has imported everything
that training needs, and has no threads. A fork differs from a new process only in how it starts; tests of the
start itself, of torchrun and of srun start new ones.
"""

import atexit
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

# Also modules that torch imports when an optimizer, a loader or a log is first used.
_PRELOADED = (
    "cloob.__main__",
    "cloob.train.cli",
    "cloob.train.local_copy",
    "cloob.train.loop",
    "torch._dynamo",
    "torch.distributed.run",
    "tests.helpers.faulty_training",
    "tests.helpers.faults",
    "tests.helpers.forked",
)
_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(list(_PRELOADED))


class ForkedCloob:
    """A process that runs `cloob` with these arguments in a new session, with the interface of `Popen`.

    `environment` replaces the variables of this process. The functions `before` are called first in the new
    process, to replace other functions or to limit resources.
    """

    def __init__(
        self,
        arguments: Sequence[Any],
        environment: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        before: Sequence[Callable[[], Any]] = (),
    ) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="forked_"))
        self._process = _CONTEXT.Process(
            target=_run,
            args=(
                list(map(str, arguments)),
                dict(os.environ if environment is None else environment),
                str(cwd or Path.cwd()),
                self._folder,
                tuple(before),
            ),
            daemon=True,  # killed when this process ends
        )
        self._process.start()
        self.pid: int = self._process.pid or 0

    @property
    def returncode(self) -> int | None:
        """The exit status, minus the signal if it was killed; None while it runs."""
        return self._process.exitcode

    def poll(self) -> int | None:
        """The same."""
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the process to end; returns its status."""
        self._process.join(timeout)
        if self.returncode is None:
            raise subprocess.TimeoutExpired("cloob", timeout or 0)
        return self.returncode

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """Wait for the process to end; returns its output and its errors."""
        self.wait(timeout)
        return self.stdout, self.stderr

    @property
    def stdout(self) -> str:
        """What it and its children have printed."""
        return (self._folder / "stdout").read_text()

    @property
    def stderr(self) -> str:
        """Their errors and warnings."""
        return (self._folder / "stderr").read_text()

    def send_signal(self, number: int) -> None:
        """Send a signal to the process, but not to its children."""
        os.kill(self.pid, number)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.send_signal(signal.SIGKILL)

    def __del__(self) -> None:
        """Delete the output."""
        shutil.rmtree(self._folder, ignore_errors=True)


def _run(
    arguments: list[str],
    environment: dict[str, str],
    cwd: str,
    folder: Path,
    before: tuple[Callable[[], Any], ...],
) -> NoReturn:
    """In the fork: run the functions, then become `cloob`."""
    streams = [os.open(os.devnull, os.O_RDONLY)]
    streams += [os.open(folder / name, os.O_WRONLY | os.O_CREAT) for name in ("stdout", "stderr")]
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job of a shell ignores it
    multiprocessing.current_process()._config["daemon"] = False  # type: ignore[attr-defined] # may have children
    become_cloob(arguments, environment, cwd, streams, before)


def become_cloob(
    arguments: Sequence[str],
    environment: Mapping[str, str],
    cwd: str,
    streams: Sequence[int],
    before: Sequence[Callable[[], Any]] = (),
) -> NoReturn:
    """Continue this fork as a process of `cloob` with these variables and standard streams."""
    import torch

    import cloob.__main__

    os.environ.clear()
    os.environ.update(environment)
    os.chdir(cwd)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", buffering=1, closefd=False)  # noqa: SIM115
    sys.argv = ["cloob", *arguments]
    sys.modules["__main__"] = cloob.__main__  # which processes that it spawns import
    torch.set_num_threads(1)
    status: object = 1
    try:
        for function in before:
            function()
        cloob.__main__.run()
    except SystemExit as end:
        status = end.code
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status if isinstance(status, int) else int(status is not None))
