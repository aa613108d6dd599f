"""How much of the sum of the gradients the backward pass hides, on networks of several rates.

Two gloo processes sum gradients of the shapes of a model, scaled down, with `cloob.train.gradient`. They are
in a network namespace of their own, which has only a loopback device; `tc` limits the rate of its traffic, in
both directions together. The backward pass is simulated, because a GPU does not compute on the processor
that sends the gradients: each parameter's gradient is complete at a fixed time. Of the whole time, the text
encoder takes a fraction, first, and the parameters of an encoder equal parts.

Needs Linux, `unshare`, `ip` and `tc` (iproute2), and root or unprivileged user namespaces; without them it
says what is missing, and ends. Nothing outside the namespace is changed, and it ends with the script. The
hidden fraction is the share of the time of the sum that overlapping saves. "By the rate" is the least time
that the bytes of the sum need.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.multiprocessing import start_processes

from cloob.models.clip import build_model
from cloob.models.config import model_config
from cloob.train.gradient import SummedGradient
from cloob.train.recipe import ALL_REDUCE_PRECISIONS
from cloob.train.step import REDUCED_DTYPES

PROCESSES = 2
LIMIT = "dev lo root tbf burst 64kb latency 200ms rate"
# A packet has to fit into the burst, so packets get the size of those of Ethernet.
SET_UP = f'ip link set lo mtu 1500 up && tc qdisc add {LIMIT} 1gbit && exec "$0" "$@" --inside'


class Backward(torch.autograd.Function):
    """The identity, whose backward pass waits until the gradient of `parameter` is due."""

    @staticmethod
    def forward(ctx, values: Tensor, parameter: Tensor, gradient: Tensor, due: float, clock: list[float]):
        ctx.gradient, ctx.due, ctx.clock = gradient, due, clock
        return values.clone()

    @staticmethod
    def backward(ctx, values: Tensor):
        time.sleep(max(0.0, ctx.clock[0] + ctx.due - time.perf_counter()))
        return values, ctx.gradient, None, None, None


def make_parameters(model: str, scale: float) -> dict[str, nn.Parameter]:
    """Parameters with the names of the model's and `scale` times their sizes."""
    with torch.device("meta"):
        named = dict(build_model(model_config(model)).named_parameters())
    named.pop("logit_scale")  # fixed in CLOOB
    return {
        name: nn.Parameter(torch.zeros(max(1, int(scale * value.numel())))) for name, value in named.items()
    }


def due_times(names: list[str], seconds: float, text_fraction: float) -> dict[str, float]:
    """The time at which each gradient is complete; the backward pass goes through `names` from the end."""
    image = [name for name in names if name.startswith("visual.")]
    text = [name for name in names if not name.startswith("visual.")]
    text.sort(key=lambda name: "embedding" not in name)  # the backward pass ends with the embeddings
    order = [*reversed(text), *reversed(image)]
    parts = [
        *[text_fraction * seconds / len(text)] * len(text),
        *[(1 - text_fraction) * seconds / len(image)] * len(image),
    ]
    return {name: sum(parts[: number + 1]) for number, name in enumerate(order)}


@contextmanager
def after_the_backward_pass(gradient: SummedGradient) -> Iterator[None]:
    """Sum the gradients as `SummedGradient.overlapped` does, but only when the backward pass is finished."""
    yield
    with gradient.overlapped():
        pass


def least_seconds(megabytes: float, rate: str) -> float:
    """The time of a sum: each of P processes sends 2 (P - 1) / P times the gradient, through one device."""
    return 2 * (PROCESSES - 1) * megabytes * 8 / float(rate.removesuffix("mbit"))


VARIANTS = {"after": after_the_backward_pass, "overlapped": SummedGradient.overlapped}


def measure(rank: int, options: argparse.Namespace, folder: str) -> None:
    """Run the steps in one process of the group; the first one prints the rows of the table."""
    torch.set_num_threads(1)
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    store = dist.FileStore(f"{folder}/store", PROCESSES)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=PROCESSES)
    parameters = make_parameters(options.model, options.scale)
    due = due_times(list(parameters), options.backward_seconds, options.text_fraction)
    gradients = {name: torch.randn_like(value) for name, value in parameters.items()}
    for rate in options.rates:
        if rank == 0:
            subprocess.run(["tc", "qdisc", "change", *LIMIT.split(), rate], check=True)
        for precision in ALL_REDUCE_PRECISIONS:
            summed = SummedGradient(parameters.items(), reduced_dtype=REDUCED_DTYPES[precision])
            seconds: dict[str, list[float]] = {name: [] for name in VARIANTS}
            for _ in range(options.repeats):
                for variant, context in VARIANTS.items():
                    clock = [0.0]
                    loss = torch.zeros((), requires_grad=True)
                    for name in reversed(due):
                        loss = Backward.apply(loss, parameters[name], gradients[name], due[name], clock)
                    summed.zero()
                    dist.barrier()
                    clock[0] = time.perf_counter()
                    with context(summed):
                        loss.backward()
                    seconds[variant].append(time.perf_counter() - clock[0])
            if rank == 0:
                after, overlapped = (median(values) for values in seconds.values())
                megabytes = summed.values.numel() * (4 if precision == "float32" else 2) / 1e6
                alone = after - options.backward_seconds
                times = (alone, least_seconds(megabytes, rate), after, overlapped)
                row = [rate, precision, f"{megabytes:.0f}", *(f"{value:.2f}" for value in times)]
                row += [f"{overlapped / after:.2f}", f"{(after - overlapped) / alone:.0%}"]
                print("| " + " | ".join(row) + " |", flush=True)
    dist.destroy_process_group()


def main() -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="RN50-quickgelu", help="open_clip model name or JSON file")
    parser.add_argument("--scale", type=float, default=0.02, help="sizes of the parameters, of the model's")
    parser.add_argument(
        "--rates", nargs="+", default=["10mbit", "40mbit", "160mbit"], help="in Mbit/s, as tc writes them"
    )
    parser.add_argument("--backward-seconds", type=float, default=4.0)
    parser.add_argument("--text-fraction", type=float, default=0.2, help="of the backward pass")
    parser.add_argument("--repeats", type=int, default=3, help="turns; medians are reported")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if not options.inside:
        if missing := [name for name in ("unshare", "ip", "tc") if shutil.which(name) is None]:
            print(f"gradient_overlap.py: skipped: {missing[0]} is missing; install util-linux and iproute2")
            return
        command = ["unshare", "--net", "--map-root-user", "sh", "-c", SET_UP]
        probe = subprocess.run([*command, "true"], capture_output=True, text=True, check=False)
        if probe.returncode:
            reason = " ".join(probe.stderr.split())
            print(f"gradient_overlap.py: skipped: {reason}; run it as root, or allow user namespaces")
            return
        sys.exit(subprocess.run([*command, sys.executable, __file__, *sys.argv[1:]], check=False).returncode)
    print(
        f"{options.model} × {options.scale:g}, {PROCESSES} processes, backward pass of "
        f"{options.backward_seconds:g} s, torch {torch.__version__}\n\n"
        "| rate | summed in | MB | sum alone, s | by the rate, s | after, s | overlapped, s "
        "| overlapped ÷ after | hidden |\n"
        "|---|---|---|---|---|---|---|---|---|"
    )
    with tempfile.TemporaryDirectory() as folder:
        start_processes(measure, (options, folder), nprocs=PROCESSES, start_method="fork")


if __name__ == "__main__":
    main()
