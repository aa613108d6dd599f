"""Linear probe: a sweep of L2 strengths by ours and by scikit-learn's L-BFGS, at the same optimum.

Features are what an encoder might give: a mixture of one Gaussian per class, all with one decaying spectrum,
around a common mean, in rows of length 1; a share of the labels is wrong, so that strength matters.
scikit-learn gets them in float64, in which it is twice as fast as in float32, once with every strength fitted
by itself and once with `warm_start`, in the order of ours. Its objective is that of ours times C. With
strengths down to 1e-6 it had not ended after 19 minutes.

The machine's OpenBLAS may be held to an old kernel by OPENBLAS_CORETYPE; unset it, and OPENBLAS_L2_SIZE:

    env -u OPENBLAS_CORETYPE -u OPENBLAS_L2_SIZE python benchmarks/probe.py
"""

import argparse
import statistics
import time
import warnings
from collections.abc import Callable

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_info, threadpool_limits
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

from cloob.evaluate.probe.path import fit_path
from cloob.evaluate.probe.selection import FINAL_TOLERANCE

Solutions = list[tuple[Tensor, Tensor]]  # weights (d, K), bias (K,), per strength


def main() -> None:
    options = arguments()
    torch.set_num_threads(options.threads)
    images, labels = draw(options.images + options.held_out, options.width, options.classes)
    train, test = images[: options.images], images[options.images :]
    targets, answers = labels[: options.images], labels[options.images :]
    strengths = np.logspace(*options.range, options.strengths).tolist()
    print(kernels())

    evaluations = []

    def ours() -> Solutions:
        fits = list(fit_path(train, targets, strengths))
        evaluations[:] = [fit.evaluations for fit in fits]
        return [(fit.weights, fit.bias) for fit in fits]

    def theirs(warm_start: bool) -> Solutions:
        model = LogisticRegression(tol=options.tol, max_iter=20_000, warm_start=warm_start)
        solutions = []
        for strength in strengths:
            model.set_params(C=1 / strength).fit(as_double, targets.numpy())
            solutions.append((torch.tensor(model.coef_.T), torch.tensor(model.intercept_)))
        return solutions

    as_double = train.double().numpy()
    contestants: dict[str, Callable[[], Solutions]] = {
        "ours": ours,
        "scikit-learn, warm-started": lambda: theirs(True),
        "scikit-learn": lambda: theirs(False),
    }
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    solutions = {}
    for _ in range(options.repeats):  # in turns: machines drift
        for name, solve in contestants.items():
            begin = time.perf_counter()
            with threadpool_limits(options.threads), warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)
                solutions[name] = solve()
            seconds[name].append(time.perf_counter() - begin)

    found = {
        name: [
            objective(train, targets, *each, strength) for each, strength in zip(one, strengths, strict=True)
        ]
        for name, one in solutions.items()
    }
    right = {name: [accuracy(test, answers, *each) for each in one] for name, one in solutions.items()}
    print("\n| λ | F | scikit-learn's ÷ ours − 1, warm / not | accuracy, % | scikit-learn's, warm / not |")
    print("|---|---|---|---|---|")
    others = [name for name in contestants if name != "ours"]
    for i, strength in enumerate(strengths):
        relative = " / ".join(f"{found[name][i] / found['ours'][i] - 1:+.1e}" for name in others)
        accuracies = " / ".join(f"{100 * right[name][i]:.2f}" for name in others)
        own = f"| {strength:.3g} | {found['ours'][i]:.6g} |"
        print(f"{own} {relative} | {100 * right['ours'][i]:.2f} | {accuracies} |")
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    print("\n| sweep | seconds, median (all) | ÷ ours |\n|---|---|---|")
    for name, median in medians.items():
        every = ", ".join(f"{each:.1f}" for each in seconds[name])
        print(f"| {name} | {median:.1f} ({every}) | {median / medians['ours']:.2f} |")
    begin = time.process_time()
    coarse = list(fit_path(train, targets, strengths))
    middle = time.process_time()
    weakest = coarse[-1]
    [last] = fit_path(
        train, targets, [weakest.l2_strength], weakest, FINAL_TOLERANCE, precision=torch.float64
    )
    seconds_of_last = time.process_time() - middle
    print(
        f"\nThe final fit, at the weakest λ to {FINAL_TOLERANCE:g} of F: "
        f"{last.evaluations} float64 evaluations, "
        f"{seconds_of_last:.1f} s of CPU time where the sweep takes {middle - begin:.1f} s."
    )
    work, rate = sum(evaluations) * 4 * train.numel() * options.classes, product_rate(train, options.classes)
    print(
        f"\nOur {sum(evaluations)} evaluations are {work / 1e9:,.0f} GFLOP: {work / rate:.1f} s at the "
        f"{rate / 1e9:.0f} GFLOP/s of such products, {work / rate / medians['ours']:.0%} of our time."
    )


def draw(count: int, width: int, classes: int, wrong: float = 0.03) -> tuple[Tensor, Tensor]:
    """Features (count, width) and labels (count,), of which the share `wrong` is drawn at random."""
    random = torch.Generator().manual_seed(0)
    spectrum = torch.arange(1, width + 1) ** -0.7
    labels = torch.randint(classes, (count,), generator=random)
    means = 0.4 * spectrum * torch.randn(classes, width, generator=random)
    rows = means[labels] + spectrum * torch.randn(count, width, generator=random)
    rotation = torch.linalg.qr(torch.randn(width, width, generator=random)).Q
    rows = normalize(rows @ rotation + 0.1 * torch.randn(width, generator=random))
    redrawn = torch.randint(classes, (count,), generator=random)
    return rows, torch.where(torch.rand(count, generator=random) < wrong, redrawn, labels)


def objective(features: Tensor, labels: Tensor, weights: Tensor, bias: Tensor, strength: float) -> float:
    """F in float64, by itself."""
    weights = weights.double()
    losses = cross_entropy(features.double() @ weights + bias.double(), labels, reduction="sum")
    return (losses + strength / 2 * weights.square().sum()).item()


def accuracy(features: Tensor, labels: Tensor, weights: Tensor, bias: Tensor) -> float:
    logits = features.double() @ weights.double() + bias.double()
    return (logits.argmax(dim=1) == labels).double().mean().item()


def product_rate(features: Tensor, classes: int) -> float:
    """FLOP/s of the product that an evaluation does twice, the best of several."""
    weights = torch.randn(features.shape[1], classes)
    seconds = []
    for _ in range(10):
        begin = time.perf_counter()
        for chunk in features.split(2048):
            chunk @ weights
        seconds.append(time.perf_counter() - begin)
    return 2 * features.numel() * classes / min(seconds)


def kernels() -> str:
    """Which OpenBLAS kernel scikit-learn computes with."""
    of_numpy = [each for each in threadpool_info() if each["internal_api"] == "openblas"]
    return ", ".join(f"OpenBLAS {each['version']} {each.get('architecture')}" for each in of_numpy)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--held-out", type=int, default=5_000, help="further images, for the accuracies")
    parser.add_argument("--width", type=int, default=1024, help="of the features")
    parser.add_argument("--classes", type=int, default=100)
    parser.add_argument("--strengths", type=int, default=10, help="how many")
    parser.add_argument("--range", type=float, nargs=2, default=(3, -1), help="decades of the strengths")
    parser.add_argument("--tol", type=float, default=1e-6, help="of scikit-learn")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args()


if __name__ == "__main__":
    main()
