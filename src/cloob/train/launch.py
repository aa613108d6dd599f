"""The processes of a run on one node, started by torchrun: what made one fail is the last line."""

import logging
import os
import select
import signal
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from cloob.common.errors import InputError, PeerLostError, user_message
from cloob.common.processes import die_with_parent

if TYPE_CHECKING:
    from torch.distributed.elastic.multiprocessing.errors import ProcessFailure

# Those that ask a run to save and end, and those that end it.
SIGNALS = "SIGTERM,SIGINT,SIGHUP,SIGQUIT,SIGUSR1"
_LAUNCHER = "CLOOB_LAUNCHER"  # its process id
_REPORT_SECONDS = 60.0  # in which torchrun ends after a failure: it waits 30 for the other processes


def launch(processes: int, arguments: Sequence[str], stopped: int) -> None:
    """Run `cloob` with these arguments in so many processes, which end with this one.

    Exits with status `stopped` where a signal asked them to stop and none failed. Raises `InputError` with
    the cause where one fails; what torchrun prints itself, some 50 lines, is left out.
    """
    from torch.distributed import run
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure

    os.environ[_LAUNCHER] = str(os.getpid())
    logging.disable(logging.CRITICAL)
    with TemporaryDirectory(prefix="cloob_torchrun_") as logs:
        flags = ["--standalone", f"--nproc-per-node={processes}", f"--signals-to-handle={SIGNALS}"]
        options = run.parse_args([*flags, f"--log-dir={logs}", "-m", "cloob", *arguments, "--processes=1"])
        try:
            run.run(options)
        except SignalException as asked:
            if asked.sigval == signal.SIGINT:
                raise KeyboardInterrupt from None
            files = sorted(Path(logs).rglob("error.json"))  # torchrun does not look: one may fail to save
            if files:
                failed = [ProcessFailure(int(file.parent.name), 0, 1, str(file)) for file in files]
                raise InputError(_cause(failed, processes)) from None
            sys.exit(stopped)
        except ChildFailedError as error:
            failures = error.failures.values()
            if all(failure.exitcode == stopped for failure in failures):
                sys.exit(stopped)
            raise InputError(_cause(failures, processes)) from None


def _cause(failures: Iterable["ProcessFailure"], processes: int) -> str:
    """Those that recorded an exception come first: the others have only lost them."""
    recorded = [failure for failure in failures if isinstance(failure.message, dict)]
    killed = [failure for failure in failures if failure.exitcode < 0]
    failure = [*recorded, *killed, *failures][0]
    process = f"process {failure.local_rank} of {processes}"
    if recorded:
        said = " ".join(failure.message["message"].split())
        own = f"{InputError.__name__}: "
        return said.removeprefix(own) if said.startswith(own) else f"{process}: {said}"
    if failure.exitcode < 0:
        memory = ", perhaps for lack of memory" if failure.exitcode == -signal.SIGKILL else ""
        return f"{process} was killed by {failure.signal_name()}{memory}; run again to go on"
    return f"{process} ended with status {failure.exitcode}; see its message"


def end_with_launcher() -> None:
    """Die with torchrun: killed, it would leave its processes running, in sessions of their own.

    To be called before anything is imported that takes long.
    """
    if "TORCHELASTIC_RUN_ID" in os.environ:
        die_with_parent(int(os.environ.get(_LAUNCHER, os.getppid())), signal.SIGKILL)


def record(error: BaseException) -> None:
    """Tell torchrun why this process fails, if it is the cause. Typed by hand, torchrun has the last word."""
    if "TORCHELASTIC_ERROR_FILE" in os.environ and not isinstance(error, PeerLostError):
        from torch.distributed.elastic.multiprocessing.errors import get_error_handler

        said = user_message(error)
        get_error_handler().record_exception(error if said is None else InputError(said))
        if _LAUNCHER not in os.environ:
            cause = said or " ".join(f"{type(error).__name__}: {error}".split())
            _print_after(os.getppid(), f"cloob train: error: {cause}")


def _print_after(pid: int, line: str) -> None:
    """Print a line once another process has ended: torchrun's report of some 50 lines follows the cause."""
    sys.stderr.flush()
    if os.fork():
        return
    os.setsid()  # torchrun kills the process groups that it started
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))  # the other processes see that their peer is gone
    with suppress(OSError):  # it has ended
        select.select([os.pidfd_open(pid)], [], [], _REPORT_SECONDS)
    with suppress(OSError):  # nobody reads any more
        os.write(2, f"{line}\n".encode(errors="replace"))
    os._exit(0)
