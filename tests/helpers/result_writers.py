"""Result files and logs as the evaluate and train stages write them, with the given numbers."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

CLASSES = {"birdsnap": 500, "gtsrb": 43, "imagenet": 1000}
DIRECTIONS = ("image_to_text", "text_to_image")


def run_of(objective: str, seed: int, corpus: str = "cc3m", architecture: str = "RN50") -> dict[str, Any]:
    """The identity of a run, as in result files and logs."""
    return {
        "name": f"{corpus}-{objective}-{architecture}-{corpus}-seed{seed}",
        "corpus": corpus,
        "objective": objective,
        "architecture": architecture,
        "recipe": corpus,
        "seed": seed,
    }


def result_path(root: Path, run: dict[str, Any], epoch: int, protocol: str, dataset: str) -> Path:
    """The path of a result file."""
    return root / "evaluate" / run["name"] / f"epoch_{epoch}" / protocol / f"{dataset}.json"


def write_result(
    root: Path,
    run: dict[str, Any],
    epoch: int,
    protocol: str,
    dataset: str,
    **metrics: float | None,
) -> Path:
    """Write one result file with these metrics."""
    path = result_path(root, run, epoch, protocol, dataset)
    content = {
        "run": run,
        "epoch": epoch,
        "dataset": dataset,
        "title": dataset,
        "protocol": protocol,
        "images": 1000,
        "metrics": metrics,
        "intervals": {},
    }
    if protocol in ("zeroshot", "linear_probe"):
        classes = CLASSES.get(dataset, 10)
        content |= {"classes": classes, "chance": 1 / classes, "metric": "accuracy"}
    if protocol == "linear_probe":
        before = {name: value and value / 2 for name, value in metrics.items()}
        content["probes"] = [
            {"features": "after_projection", "metrics": metrics, "converged": True},
            {"features": "before_projection", "metrics": before, "converged": True},
        ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def log_path(root: Path, run: dict[str, Any]) -> Path:
    """The path of a log."""
    return root / "train" / run["name"] / "metrics.jsonl"


def write_log(
    root: Path,
    run: dict[str, Any],
    saturation: dict[int, float] | None = None,
    starts: tuple[tuple[int, str], ...] = ((2, "GPU_1"),),
    pairs_per_second: float = 100.0,
    recipe: Mapping[str, Any] | None = None,
) -> Path:
    """Write a log: 10 steps of 64 pairs per start (processes, device), then the validations by epoch.

    `recipe` has keys beside the batch size.
    """
    events: list[dict[str, Any]] = []
    for restarts, (processes, device) in enumerate(starts):
        events.append(
            {
                "event": "start",
                "restarts": restarts,
                "run": run,
                "recipe": {"batch_size": 64, **(recipe or {})},
                "model_config": {"embed_dim": 8},
                "corpus_sha256": "c" * 64,
                "urls_sha256": "d" * 64,
                "pairs": 640,
                "processes": processes,
                "device": device,
                "torch": "2.15.0",
                "commit": f"{restarts}" * 40,
            }
        )
        for step in range(1, 11):
            seconds = 64 / pairs_per_second
            events.append(
                {
                    "event": "step",
                    "step": 10 * restarts + step,
                    "epoch": (10 * restarts + step) / 10,
                    "loss": 1.0,
                    "data_seconds": 0.25 * seconds,
                    "batch_seconds": seconds,
                    "samples_per_second": pairs_per_second,
                }
            )
    for epoch, value in (saturation or {}).items():
        events.append({"event": "validation", "epoch": epoch, "loss": 1.0, "saturation": value})
    path = log_path(root, run)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(event) + "\n" for event in events))
    return path


def write_ranking(
    root: Path,
    search: str,
    objective: str,
    settings: Mapping[float, float | None],
    pairs: int = 1000,
    warmup_steps: int = 10,
) -> Path:
    """Write the ranked trials of an objective: learning rate -> mean R@1, best first (None: it diverged)."""
    trials = []
    for rank, (rate, recall) in enumerate(settings.items(), start=1):
        metrics = None
        if recall is not None:
            metrics = {"image_to_text_r1": recall + 0.01, "text_to_image_r1": recall - 0.01}
            metrics |= {f"{direction}_r{k}": 0.9 for direction in DIRECTIONS for k in (5, 10)}
        values = {"learning_rate": rate, "warmup_steps": warmup_steps}
        trials.append({"rank": rank, "values": values, "diverged": recall is None, "metrics": metrics})
    content = {"search": search, "objective": objective, "seed": 0, "epochs": 30}
    path = root / "tune" / search / f"{objective}_trials.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content | {"validation_pairs": pairs, "trials": trials}))
    return path
