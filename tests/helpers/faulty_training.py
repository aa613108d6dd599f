"""`cloob` with an injected fault: `faulty_training.py TARGET EXCEPTION [RANK] -- ARGUMENTS of cloob`.

TARGET is a key of `TARGETS`, EXCEPTION the name of a built-in exception; with RANK, only that process fails.
The script can be started directly or by torchrun.
"""

import builtins
import os
import sys

from cloob.__main__ import run
from cloob.train import data, loop, state, step

TARGETS = {
    "step": (step.TrainStep, "__call__"),
    "worker": (data.PairDataset, "__getitem__"),
    "validation": (loop, "validate"),
    "saving": (state, "write_checkpoint"),
}


def install(target: str, exception: str, rank: str = "") -> None:
    """Replace a function of training by one that raises."""

    def fail(*_, **__):
        raise getattr(builtins, exception)(f"a fault in {target}")

    if rank in ("", os.environ.get("RANK")):
        setattr(*TARGETS[target], fail)


if __name__ == "__main__":
    split = sys.argv.index("--")
    install(*sys.argv[1:split])
    sys.argv[1:] = sys.argv[split + 1 :]
    run()
