"""Time and memory of the objectives, compared with plain formulas and the theoretical minimum of work.

Compares ours with the plain formulas (autograd, N×N matrices stored) and with open_clip's ClipLoss (a
different, cheaper loss, as a reference): forward and backward pass, alternately. The minimum of CLOOB is 24
matrix products of 2·N²·d operations, the fewest known, at the rate that products of this shape reach in the
same run; for the objectives without Hopfield retrieval it is 3.
"""

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from open_clip.loss import ClipLoss
from torch import Tensor

from cloob.objectives.losses import contrastive_loss
from cloob.objectives.registry import OBJECTIVES

INV_TEMPERATURE, BETA = 30.0, 8.0
# Matrix products by `hopfield`. With retrieval, forward: X Yᵀ and half of X Xᵀ and of Y Yᵀ, 2; the retrieved
# patterns, 4; the logits of both directions, 2. Backward: logits 4, retrieved patterns 8 (weights and stored
# patterns), Gram matrices 4. Without retrieval, both directions share one matrix of logits, and the gradient
# of each side takes one product of it.
MIN_PRODUCTS = {True: 24, False: 3}


def make_pairs(number: int, width: int, device: str) -> tuple[Tensor, Tensor]:
    """Unit vectors (number, width) for images and texts; row i of both is correlated."""
    generator = torch.Generator().manual_seed(0)
    common, image, text = torch.randn(3, number, width, generator=generator)
    return tuple(F.normalize(common + noise, dim=1).to(device).requires_grad_() for noise in (image, text))


def ours(x: Tensor, y: Tensor, objective: str) -> Tensor:
    """The loss of this package."""
    return contrastive_loss(x, y, objective=objective, inv_temperature=INV_TEMPERATURE, beta=BETA)


def plain(x: Tensor, y: Tensor, objective: str) -> Tensor:
    """The formulas, written out with autograd."""
    entry = OBJECTIVES[objective]

    def retrieve(state: Tensor, stored: Tensor) -> Tensor:
        return F.normalize(torch.softmax(BETA * (state @ stored.T), dim=1) @ stored, dim=1)

    def one_sided(anchors: Tensor, positives: Tensor) -> Tensor:
        logits = INV_TEMPERATURE * (anchors @ positives.T)
        positive_logits = logits.diagonal()
        if entry.loss == "infoloob":
            diagonal = torch.eye(len(x), dtype=torch.bool, device=x.device)
            logits = logits.masked_fill(diagonal, -torch.inf)
        return (logits.logsumexp(dim=1) - positive_logits).mean()

    image, text = (x, y), (y, x)
    if entry.hopfield:
        image = retrieve(x, x), retrieve(y, x)
        text = retrieve(y, y), retrieve(x, y)
    both = one_sided(*image) + one_sided(*text)
    return both / INV_TEMPERATURE if entry.loss == "infoloob" else both / 2


def clip_loss(x: Tensor, y: Tensor, _: str) -> Tensor:
    """open_clip's loss."""
    return ClipLoss()(x, y, torch.tensor(INV_TEMPERATURE, device=x.device))


VARIANTS: dict[str, Callable[[Tensor, Tensor, str], Tensor]] = {
    "ours": ours,
    "plain formulas": plain,
    "open_clip ClipLoss": clip_loss,
}


def time_of(function: Callable[[], object], device: str) -> float:
    """Wall-clock seconds of a call."""
    if device == "cuda":
        torch.cuda.synchronize()
    start = time.perf_counter()
    function()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def resident_bytes(field: str) -> int:
    """Resident memory of this process in bytes: VmRSS (current) or VmHWM (peak)."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(field))


def extra_memory(variant: str, number: int, width: int, objective: str, device: str) -> float:
    """Peak MB of a forward and a backward pass, beyond the embeddings and their gradients.

    On a CPU it is resident memory: run with `MALLOC_MMAP_THRESHOLD_=65536`, or glibc does not return freed
    memory.
    """
    x, y = make_pairs(number, width, device)
    x.grad, y.grad = torch.zeros_like(x), torch.zeros_like(y)
    warm_up = make_pairs(8, width, device)
    VARIANTS[variant](*warm_up, objective).backward()  # allocations that the libraries make once
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        VARIANTS[variant](x, y, objective).backward()
        return (torch.cuda.max_memory_allocated() - before) / 1e6
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # reset the peak
    before = resident_bytes("VmRSS")
    VARIANTS[variant](x, y, objective).backward()
    return (resident_bytes("VmHWM") - before) / 1e6


def extra_memory_in_new_process(variant: str, number: int, options: argparse.Namespace) -> float:
    """`extra_memory` in a new process that returns freed memory."""
    command = [sys.executable, __file__, "--memory-of", variant, "--sizes", str(number)]
    command += ["--width", str(options.width), "--objective", options.objective, "--device", options.device]
    environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536"}
    completed = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    return float(completed.stdout)


def matrix_product(number: int, width: int, device: str) -> Callable[[], object]:
    """One N×d by d×N product, in strips, so that no N×N matrix is written."""
    x, y = (part.detach() for part in make_pairs(number, width, device))
    strip = x.new_empty(min(2048, number), number)

    def product() -> None:
        for start in range(0, number, len(strip)):
            rows = x[start : start + len(strip)]
            torch.mm(rows, y.T, out=strip[: len(rows)])

    return product


def measure(number: int, options: argparse.Namespace) -> None:
    """Print one row of the table per variant."""
    x, y = make_pairs(number, options.width, options.device)

    def forward_and_backward(variant: str) -> None:
        x.grad = y.grad = None
        VARIANTS[variant](x, y, options.objective).backward()

    skipped = {"plain formulas"} if number > options.plain_up_to else set()
    variants = [name for name in VARIANTS if name not in skipped]
    product = matrix_product(number, options.width, options.device)
    operations = 2 * number**2 * options.width
    iterations = max(1, int(options.operations / (MIN_PRODUCTS[True] * operations)))  # more for small batches
    times: dict[str, list[float]] = {name: [] for name in [*variants, "product"]}
    for turn in range(options.repeats + 1):
        for name, seconds in times.items():
            function = product if name == "product" else lambda name=name: forward_and_backward(name)
            calls = 4 * iterations if name == "product" else iterations
            total = time_of(
                lambda function=function, calls=calls: [function() for _ in range(calls)], options.device
            )
            if turn:  # the first turn warms up the caches
                seconds.append(total / calls)
    median = {name: statistics.median(seconds) for name, seconds in times.items()}
    minimum = MIN_PRODUCTS[OBJECTIVES[options.objective].hopfield] * median["product"]
    for name in variants:
        efficiency = f"{minimum / median[name]:.2f}" if name != "open_clip ClipLoss" else "–"
        memory = extra_memory_in_new_process(name, number, options)
        print(
            f"| {number} | {name} | {median[name] * 1e3:.1f} | {median[name] / median['ours']:.2f} |"
            f" {efficiency} | {memory:.0f} | {operations / median['product'] / 1e9:.0f} |",
            flush=True,
        )


def main() -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--sizes", type=int, nargs="+", default=[64, 256, 512, 2048, 8192], help="batch sizes N"
    )
    parser.add_argument("--width", type=int, default=512, help="embedding width d")
    parser.add_argument("--objective", choices=OBJECTIVES, default="cloob")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--repeats", type=int, default=5, help="timed turns; the median is reported")
    parser.add_argument("--plain-up-to", type=int, default=8192, help="largest N for the plain formulas")
    parser.add_argument("--operations", type=float, default=5e10, help="minimum work of one measurement")
    parser.add_argument("--memory-of", choices=VARIANTS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.memory_of:
        arguments = options.sizes[0], options.width, options.objective, options.device
        print(extra_memory(options.memory_of, *arguments))
        return
    print(f"{options.objective}, d = {options.width}, float32, forward and backward,", end=" ")
    print(f"{torch.get_num_threads()} threads, torch {torch.__version__}, {options.device}\n")
    print("| N | loss | ms | ÷ ours | minimum ÷ time | extra MB | GFLOP/s of products |")
    print("|---|---|---|---|---|---|---|")
    for number in options.sizes:
        measure(number, options)


if __name__ == "__main__":
    main()
