"""How fast is the objective, how near to the floor, and how much memory does it take?

Ours, the formulas as they stand (autograd, N×N stored) and open_clip's ClipLoss (another, smaller loss: for
scale), forward and backward, in turns. The floor of the CLOOB objective is 24 products of 2·N²·d operations,
the fewest known, at the rate that products of these very shapes reach in the same run; of the objectives
without retrieval it is 3.
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

INVERSE_TEMPERATURE, BETA = 30.0, 8.0
# With retrieval, forward: X Yᵀ and half of X Xᵀ and of Y Yᵀ, 2; the retrieved batches, 4; the logits of both
# terms, 2. Backward: logits 4, retrieved batches 8 (weights and stored patterns), Gram matrices 4. Without
# retrieval the terms share one matrix of logits, of which each side's gradient takes a product.
FLOOR = {True: 24, False: 3}


def pairs(number: int, width: int, device: str) -> tuple[Tensor, Tensor]:
    """Unit vectors of which row i of the one resembles row i of the other."""
    generator = torch.Generator().manual_seed(0)
    common, image, text = torch.randn(3, number, width, generator=generator)
    return tuple(F.normalize(common + noise, dim=1).to(device).requires_grad_() for noise in (image, text))


def ours(x: Tensor, y: Tensor, objective: str) -> Tensor:
    """The package's."""
    return contrastive_loss(x, y, objective=objective, inv_temperature=INVERSE_TEMPERATURE, beta=BETA)


def plain(x: Tensor, y: Tensor, objective: str) -> Tensor:
    """The formulas as one would write them down."""

    def retrieve(state: Tensor, stored: Tensor) -> Tensor:
        return F.normalize(torch.softmax(BETA * (state @ stored.T), dim=1) @ stored, dim=1)

    def term(anchors: Tensor, positives: Tensor) -> Tensor:
        logits = INVERSE_TEMPERATURE * (anchors @ positives.T)
        matched = logits.diagonal()
        if OBJECTIVES[objective].loss == "infoloob":
            own = torch.eye(len(x), dtype=torch.bool, device=x.device)
            logits = logits.masked_fill(own, -torch.inf)
        return (logits.logsumexp(dim=1) - matched).mean()

    image, text = (x, y), (y, x)
    if OBJECTIVES[objective].hopfield:
        image = retrieve(x, x), retrieve(y, x)
        text = retrieve(y, y), retrieve(x, y)
    both = term(*image) + term(*text)
    return both / INVERSE_TEMPERATURE if OBJECTIVES[objective].loss == "infoloob" else both / 2


def clip_loss(x: Tensor, y: Tensor, _: str) -> Tensor:
    """open_clip's."""
    return ClipLoss()(x, y, torch.tensor(INVERSE_TEMPERATURE, device=x.device))


VARIANTS: dict[str, Callable[[Tensor, Tensor, str], Tensor]] = {
    "ours": ours,
    "plain formulas": plain,
    "open_clip ClipLoss": clip_loss,
}


def seconds(work: Callable[[], object], device: str) -> float:
    """How long the work takes."""
    if device == "cuda":
        torch.cuda.synchronize()
    begun = time.perf_counter()
    work()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - begun


def resident(field: str) -> int:
    """A line of this process's status in bytes: VmRSS (now) or VmHWM (the peak)."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(field))


def extra_memory(variant: str, number: int, width: int, objective: str, device: str) -> float:
    """MB at the peak of a forward and a backward pass, beyond the embeddings and their gradients.

    On a CPU: of the resident set, so run it with `MALLOC_MMAP_THRESHOLD_=65536`, or glibc keeps what is free.
    """
    x, y = pairs(number, width, device)
    x.grad, y.grad = torch.zeros_like(x), torch.zeros_like(y)
    small = pairs(8, width, device)
    VARIANTS[variant](*small, objective).backward()  # what the libraries set up once
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        VARIANTS[variant](x, y, objective).backward()
        return (torch.cuda.max_memory_allocated() - before) / 1e6
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # forget the peak so far
    before = resident("VmRSS")
    VARIANTS[variant](x, y, objective).backward()
    return (resident("VmHWM") - before) / 1e6


def extra_memory_of_a_process(variant: str, number: int, options: argparse.Namespace) -> float:
    """The same, measured in a process that has done nothing else and gives back what it frees."""
    command = [sys.executable, __file__, "--memory-of", variant, "--sizes", str(number)]
    command += ["--width", str(options.width), "--objective", options.objective, "--device", options.device]
    environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536"}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    return float(done.stdout)


def rate(number: int, width: int, device: str) -> Callable[[], object]:
    """A product of the floor's kind: N×d by d×N, in strips, so that nothing N×N is written."""
    x, y = (part.detach() for part in pairs(number, width, device))
    strip = x.new_empty(min(2048, number), number)

    def products() -> None:
        for start in range(0, number, len(strip)):
            torch.mm(x[start : start + len(strip)], y.T, out=strip[: len(x[start : start + len(strip)])])

    return products


def measure(number: int, options: argparse.Namespace) -> None:
    """One row of the table per variant."""
    x, y = pairs(number, options.width, options.device)

    def forward_and_backward(variant: str) -> None:
        x.grad = y.grad = None
        VARIANTS[variant](x, y, options.objective).backward()

    skipped = {"plain formulas"} if number > options.plain_up_to else set()
    variants = [name for name in VARIANTS if name not in skipped]
    product = rate(number, options.width, options.device)
    operations = 2 * number**2 * options.width
    inner = max(1, int(options.operations / (FLOOR[True] * operations)))  # of small work, more at a time
    times: dict[str, list[float]] = {name: [] for name in [*variants, "product"]}
    for turn in range(options.repeats + 1):
        for name, spent in times.items():
            work = product if name == "product" else lambda name=name: forward_and_backward(name)
            often = inner if name != "product" else inner * 4
            took = seconds(lambda work=work, often=often: [work() for _ in range(often)], options.device)
            if turn:  # the first is for the caches
                spent.append(took / often)
    median = {name: statistics.median(spent) for name, spent in times.items()}
    floor = FLOOR[OBJECTIVES[options.objective].hopfield] * median["product"]
    for name in variants:
        share = f"{floor / median[name]:.2f}" if name != "open_clip ClipLoss" else "–"
        memory = extra_memory_of_a_process(name, number, options)
        print(
            f"| {number} | {name} | {median[name] * 1e3:.1f} | {median[name] / median['ours']:.2f} |"
            f" {share} | {memory:.0f} | {operations / median['product'] / 1e9:.0f} |",
            flush=True,
        )


def main() -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 256, 512, 2048, 8192], help="batches N")
    parser.add_argument("--width", type=int, default=512, help="width d of the embeddings")
    parser.add_argument("--objective", choices=OBJECTIVES, default="cloob")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--repeats", type=int, default=5, help="turns, of which the median counts")
    parser.add_argument("--plain-up-to", type=int, default=8192, help="largest N that stores N×N")
    parser.add_argument("--operations", type=float, default=5e10, help="least work of one measurement")
    parser.add_argument("--memory-of", choices=VARIANTS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.memory_of:
        arguments = options.sizes[0], options.width, options.objective, options.device
        print(extra_memory(options.memory_of, *arguments))
        return
    print(f"{options.objective}, d = {options.width}, float32, forward and backward,", end=" ")
    print(f"{torch.get_num_threads()} threads, torch {torch.__version__}, {options.device}\n")
    print("| N | what | ms | × ours | share of the floor | extra MB | products at GFLOP/s |")
    print("|---|---|---|---|---|---|---|")
    for number in options.sizes:
        measure(number, options)


if __name__ == "__main__":
    main()
