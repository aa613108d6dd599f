"""`python -m cloob`: the same as `cloob`."""

import gc
import os
import sys

from cloob.cli import main


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
    gc.collect()  # leaked semaphores would cause a warning after the last line
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status if isinstance(status, int) else 1)


if __name__ == "__main__":
    run()
