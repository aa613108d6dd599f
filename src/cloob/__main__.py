"""`cloob`, also as `python -m cloob`."""

import os
import sys
from contextlib import suppress

from cloob.common.interruption import STATUS

try:
    from cloob.cli import main
except KeyboardInterrupt:
    print("cloob: interrupted", file=sys.stderr, flush=True)
    os._exit(STATUS)


def run() -> None:
    """Run `main`; after a failure, exit without the exit handlers of libraries, which may block forever.

    (NCCL waits for other processes, pin-memory threads for workers, loggers for a full disk. All `with`
    blocks have been exited by then.)
    """
    try:
        main()
    except SystemExit as error:
        status = error.code
    except BaseException:
        sys.excepthook(*sys.exc_info())  # replaced by torch, which adds the rank
        status = 1
    if not status:
        sys.exit()
    with suppress(OSError):  # the program that read the output has exited
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(status if isinstance(status, int) else 1)


if __name__ == "__main__":
    run()
