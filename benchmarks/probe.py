"""Linear probe: a sweep of L2 strengths with our solver and scikit-learn's L-BFGS, at the same optimum.

The features resemble those of an encoder: a mixture of one Gaussian per class with a common decaying spectrum
and a common mean, L2-normalized; a fraction of the labels is random, so that the strength matters.
scikit-learn gets them in float64, because it is twice as fast as with float32: once with independent fits,
and once with `warm_start`, in the same order as ours. Its objective is C times ours. With strengths down to
1e-6 it had not finished after 19 minutes.

OPENBLAS_CORETYPE may select an outdated OpenBLAS kernel; unset it, and OPENBLAS_L2_SIZE:

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
    train_labels, test_labels = labels[: options.images], labels[options.images :]
    strengths = np.logspace(*options.range, options.strengths).tolist()
    print(kernels())

    evaluations = []

    def ours() -> Solutions:
        fits = list(fit_path(train, train_labels, strengths))
        evaluations[:] = [fit.evaluations for fit in fits]
        return [(fit.weights, fit.bias) for fit in fits]

    def scikit_learn(warm_start: bool) -> Solutions:
        model = LogisticRegression(tol=options.tol, max_iter=20_000, warm_start=warm_start)
        solutions = []
        for strength in strengths:
            model.set_params(C=1 / strength).fit(as_double, train_labels.numpy())
            solutions.append((torch.tensor(model.coef_.T), torch.tensor(model.intercept_)))
        return solutions

    as_double = train.double().numpy()
    solvers: dict[str, Callable[[], Solutions]] = {
        "ours": ours,
        "scikit-learn, warm-started": lambda: scikit_learn(True),
        "scikit-learn": lambda: scikit_learn(False),
    }
    seconds: dict[str, list[float]] = {name: [] for name in solvers}
    solutions = {}
    for _ in range(options.repeats):  # alternating, because machine speeds drift
        for name, solve in solvers.items():
            start = time.perf_counter()
            with threadpool_limits(options.threads), warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)
                solutions[name] = solve()
            seconds[name].append(time.perf_counter() - start)

    objectives = {
        name: [
            objective(train, train_labels, *solution, strength)
            for solution, strength in zip(path, strengths, strict=True)
        ]
        for name, path in solutions.items()
    }
    accuracies = {
        name: [accuracy(test, test_labels, *solution) for solution in path]
        for name, path in solutions.items()
    }
    print("\n| λ | F | scikit-learn's ÷ ours − 1, warm / cold | accuracy, % | scikit-learn's, warm / cold |")
    print("|---|---|---|---|---|")
    others = [name for name in solvers if name != "ours"]
    for i, strength in enumerate(strengths):
        relative = " / ".join(f"{objectives[name][i] / objectives['ours'][i] - 1:+.1e}" for name in others)
        others_accuracy = " / ".join(f"{100 * accuracies[name][i]:.2f}" for name in others)
        row = f"| {strength:.3g} | {objectives['ours'][i]:.6g} | {relative}"
        print(f"{row} | {100 * accuracies['ours'][i]:.2f} | {others_accuracy} |")
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    print("\n| sweep | seconds, median (all) | ÷ ours |\n|---|---|---|")
    for name, median in medians.items():
        times = ", ".join(f"{value:.1f}" for value in seconds[name])
        print(f"| {name} | {median:.1f} ({times}) | {median / medians['ours']:.2f} |")
    start = time.process_time()
    coarse = list(fit_path(train, train_labels, strengths))
    middle = time.process_time()
    weakest = coarse[-1]
    [final] = fit_path(
        train, train_labels, [weakest.l2_strength], weakest, FINAL_TOLERANCE, precision=torch.float64
    )
    final_seconds = time.process_time() - middle
    print(
        f"\nThe final fit, at the weakest λ to {FINAL_TOLERANCE:g} of F: "
        f"{final.evaluations} float64 evaluations, "
        f"{final_seconds:.1f} s of CPU time; the sweep takes {middle - start:.1f} s."
    )
    work, rate = sum(evaluations) * 4 * train.numel() * options.classes, product_rate(train, options.classes)
    print(
        f"\nOur {sum(evaluations)} evaluations are {work / 1e9:,.0f} GFLOP: {work / rate:.1f} s at the "
        f"{rate / 1e9:.0f} GFLOP/s of such products, {work / rate / medians['ours']:.0%} of our time."
    )


def draw(count: int, width: int, classes: int, noise: float = 0.03) -> tuple[Tensor, Tensor]:
    """Features (count, width) and labels (count,), of which the fraction `noise` is random."""
    random = torch.Generator().manual_seed(0)
    spectrum = torch.arange(1, width + 1) ** -0.7
    labels = torch.randint(classes, (count,), generator=random)
    means = 0.4 * spectrum * torch.randn(classes, width, generator=random)
    rows = means[labels] + spectrum * torch.randn(count, width, generator=random)
    rotation = torch.linalg.qr(torch.randn(width, width, generator=random)).Q
    rows = normalize(rows @ rotation + 0.1 * torch.randn(width, generator=random))
    redrawn = torch.randint(classes, (count,), generator=random)
    return rows, torch.where(torch.rand(count, generator=random) < noise, redrawn, labels)


def objective(features: Tensor, labels: Tensor, weights: Tensor, bias: Tensor, strength: float) -> float:
    """F in float64, evaluated by its definition."""
    weights = weights.double()
    losses = cross_entropy(features.double() @ weights + bias.double(), labels, reduction="sum")
    return (losses + strength / 2 * weights.square().sum()).item()


def accuracy(features: Tensor, labels: Tensor, weights: Tensor, bias: Tensor) -> float:
    logits = features.double() @ weights.double() + bias.double()
    return (logits.argmax(dim=1) == labels).double().mean().item()


def product_rate(features: Tensor, classes: int) -> float:
    """FLOP/s of the matrix product that an evaluation computes twice, the best of ten runs."""
    weights = torch.randn(features.shape[1], classes)
    seconds = []
    for _ in range(10):
        start = time.perf_counter()
        for chunk in features.split(2048):
            chunk @ weights
        seconds.append(time.perf_counter() - start)
    return 2 * features.numel() * classes / min(seconds)


def kernels() -> str:
    """The OpenBLAS kernel that scikit-learn uses."""
    libraries = [library for library in threadpool_info() if library["internal_api"] == "openblas"]
    return ", ".join(f"OpenBLAS {library['version']} {library.get('architecture')}" for library in libraries)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--held-out", type=int, default=5_000, help="number of test images")
    parser.add_argument("--width", type=int, default=1024, help="width of the features")
    parser.add_argument("--classes", type=int, default=100)
    parser.add_argument("--strengths", type=int, default=10, help="number of L2 strengths")
    parser.add_argument(
        "--range", type=float, nargs=2, default=(3, -1), help="log10 of the strongest and weakest L2 strength"
    )
    parser.add_argument("--tol", type=float, default=1e-6, help="tolerance of scikit-learn")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args()


if __name__ == "__main__":
    main()
