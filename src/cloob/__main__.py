"""`python -m cloob` is `cloob`."""

import gc
import os
import sys

from cloob.cli import main


def run() -> None:
    """Run `main`; after a failure, end without the exit handlers of libraries, which may wait for ever.

    (NCCL for another process, pin-memory threads for workers, loggers for a full disk. All `with` blocks have
    ended by then.)
    """
    try:
        main()
    except SystemExit as end:
        status = end.code
    except BaseException:
        sys.excepthook(*sys.exc_info())  # torch's, which names the process
        status = 1
    if not status:
        sys.exit()
    gc.collect()  # semaphores that nobody deletes are named in a warning after the last line
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status if isinstance(status, int) else 1)


if __name__ == "__main__":
    run()
