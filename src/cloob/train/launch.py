"""Start the processes of a run on one node with torchrun, and report the cause of a failure in one line."""

import logging
import os
import select
import signal
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from cloob.common.errors import InputError, PeerLostError, user_message
from cloob.common.processes import die_with_parent

if TYPE_CHECKING:
    from torch.distributed.elastic.multiprocessing.errors import ProcessFailure

# Signals for a graceful stop, and those that terminate a run.
SIGNALS = "SIGTERM,SIGINT,SIGHUP,SIGQUIT,SIGUSR1"
_LAUNCHER_PID = "CLOOB_LAUNCHER"
_STOP_SECONDS = 600  # after a signal, instead of torchrun's 30: time to validate and to save a checkpoint
_REPORT_SECONDS = 60.0  # torchrun waits 30 seconds for the other processes after a failure


def launch(processes: int, arguments: Sequence[str], exit_stopped: int) -> None:
    """Run `cloob` with these arguments in several processes, which die with this one.

    Exits with status `exit_stopped` after a graceful stop in which no process failed. Raises `InputError`
    with the cause if a process fails; torchrun's own report of some 50 lines is suppressed.
    """
    from torch.distributed import run
    from torch.distributed.elastic.agent.server.local_elastic_agent import LocalElasticAgent
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure

    os.environ[_LAUNCHER_PID] = str(os.getpid())
    logging.disable(logging.CRITICAL)
    shutdown = _impatient_with_ctrl_c(LocalElasticAgent._shutdown)
    LocalElasticAgent._shutdown = shutdown  # type: ignore[method-assign]
    with TemporaryDirectory(prefix="cloob_torchrun_") as logs:
        flags = ["--standalone", f"--nproc-per-node={processes}", f"--signals-to-handle={SIGNALS}"]
        options = run.parse_args([*flags, f"--log-dir={logs}", "-m", "cloob", *arguments, "--processes=1"])
        options.shutdown_timeout = _STOP_SECONDS  # torch 2.11 has no flag for it
        try:
            run.run(options)
        except SignalException as received:
            if received.sigval == signal.SIGINT:
                raise KeyboardInterrupt from None
            # torchrun does not check, but a process may have failed to save its checkpoint.
            error_files = sorted(Path(logs).rglob("error.json"))
            if error_files:
                failed = [ProcessFailure(int(file.parent.name), 0, 1, str(file)) for file in error_files]
                raise InputError(_cause(failed, processes)) from None
            sys.exit(exit_stopped)
        except ChildFailedError as error:
            failures = error.failures.values()
            if all(failure.exitcode == exit_stopped for failure in failures):
                sys.exit(exit_stopped)
            raise InputError(_cause(failures, processes)) from None


def _impatient_with_ctrl_c(shutdown: Callable[..., None]) -> Callable[..., None]:
    """`LocalElasticAgent._shutdown`, but after SIGINT with torchrun's own limit: NCCL may block for hours."""

    def wrapper(agent: Any, death_sig: signal.Signals = signal.SIGTERM, **limit: int) -> None:
        shutdown(agent, death_sig, **({} if death_sig == signal.SIGINT else limit))

    return wrapper


def _cause(failures: Iterable["ProcessFailure"], processes: int) -> str:
    """The message of the process that failed first: processes that only lost a peer record no exception."""
    recorded = [failure for failure in failures if _recorded_message(failure) is not None]
    killed = [failure for failure in failures if failure.exitcode < 0]
    failure = [*recorded, *killed, *failures][0]
    process = f"process {failure.local_rank} of {processes}"
    if (message := _recorded_message(failure)) is not None:
        prefix = f"{InputError.__name__}: "
        return message.removeprefix(prefix) if message.startswith(prefix) else f"{process}: {message}"
    if failure.exitcode < 0:
        memory = ", perhaps for lack of memory" if failure.exitcode == -signal.SIGKILL else ""
        return f"{process} was killed by {failure.signal_name()}{memory}; rerun to resume"
    return f"{process} exited with status {failure.exitcode}; see its message"


def _recorded_message(failure: "ProcessFailure") -> str | None:
    """The message of the exception that a process recorded, in one line."""
    content: Any = failure.message  # a dict if an exception was recorded, unlike torch's annotation
    return " ".join(content["message"].split()) if isinstance(content, dict) else None


def die_with_launcher() -> None:
    """Die when torchrun dies: its processes, in sessions of their own, would survive a SIGKILL of torchrun.

    Call this before slow imports.
    """
    if "TORCHELASTIC_RUN_ID" in os.environ:
        die_with_parent(int(os.environ.get(_LAUNCHER_PID, os.getppid())), signal.SIGKILL)


def record_exception(error: BaseException) -> None:
    """Report the exception to torchrun, unless it is the consequence of another process's failure.

    If torchrun was started manually, the cause is also printed once more below its long report.
    """
    if "TORCHELASTIC_ERROR_FILE" in os.environ and not isinstance(error, PeerLostError):
        from torch.distributed.elastic.multiprocessing.errors import get_error_handler

        message = user_message(error)
        get_error_handler().record_exception(error if message is None else InputError(message))
        if _LAUNCHER_PID not in os.environ:
            cause = message or " ".join(f"{type(error).__name__}: {error}".split())
            _print_after_exit(os.getppid(), f"cloob train: error: {cause}")


def _print_after_exit(pid: int, line: str) -> None:
    """Fork a process that prints a line after process `pid` has exited."""
    sys.stderr.flush()
    if os.fork():
        return
    os.setsid()  # torchrun kills the process groups that it started
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))  # close the sockets, so that peers see this process exit
    with suppress(OSError):  # `pid` has exited already
        select.select([os.pidfd_open(pid)], [], [], _REPORT_SECONDS)
    with suppress(OSError):  # stderr is closed
        os.write(2, f"{line}\n".encode(errors="replace"))
    os._exit(0)
