"""`cloob` with a fault: `faulty.py WHERE WHAT [RANK] -- ARGUMENTS of cloob`, run alone or by torchrun.

WHERE is step, worker, validation or saving, WHAT the name of an exception. With RANK, in that process only.
"""

import builtins
import os
import sys

from cloob.__main__ import run
from cloob.train import data, loop, step

TARGETS = {
    "step": (step.Learner, "step"),
    "worker": (data.Pairs, "__getitem__"),
    "validation": (loop, "validate"),
    "saving": (loop, "save_checkpoint"),
}


def install(where: str, what: str, rank: str = "") -> None:
    """Have a function of training raise."""

    def fail(*_, **__):
        raise getattr(builtins, what)(f"a fault in {where}")

    if rank in ("", os.environ.get("RANK")):
        setattr(*TARGETS[where], fail)


if __name__ == "__main__":
    split = sys.argv.index("--")
    install(*sys.argv[1:split])
    sys.argv[1:] = sys.argv[split + 1 :]
    run()
