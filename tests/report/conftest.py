"""Result files and logs as the evaluate and train stages leave them, with numbers that are easy to follow."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from cloob.cli import main

MARK = "The small world: not the paper's figures"


@pytest.fixture
def report() -> Callable[..., int]:
    """Run `cloob report …` as the pipeline does; returns the exit status."""

    def run(*arguments: object) -> int:
        with pytest.raises(SystemExit) as end:
            main(["report", *map(str, arguments), "--title-suffix", MARK])
        return end.value.code

    return run


def _run(corpus: str, objective: str, seed: int) -> dict[str, object]:
    return {
        "name": f"{corpus}-{objective}-RN50-cc3m-seed{seed}",
        "corpus": corpus,
        "objective": objective,
        "architecture": "RN50",
        "recipe": "cc3m",
        "seed": seed,
    }


@pytest.fixture
def write_result(tmp_path: Path) -> Callable[..., Path]:
    """Write one result file of the evaluate stage."""

    def write(
        dataset: str,
        accuracy: float,
        corpus: str = "cc3m",
        objective: str = "clip",
        seed: int = 1,
        epoch: int = 31,
        classes: int = 10,
    ) -> Path:
        run = _run(corpus, objective, seed)
        path = tmp_path / "evaluate" / str(run["name"]) / f"epoch_{epoch}" / "zeroshot" / f"{dataset}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        top5 = min(1.0, 2 * accuracy) if classes > 5 else None
        content = {
            "run": run,
            "epoch": epoch,
            "dataset": dataset,
            "title": dataset,
            "protocol": "zeroshot",
            "images": 100,
            "classes": classes,
            "chance": 1 / classes,
            "metrics": {
                "accuracy": accuracy,
                "accuracy_top5": top5,
                "mean_per_class_accuracy": accuracy,
            },
        }
        path.write_text(json.dumps(content))
        return path

    return write


@pytest.fixture
def write_log(tmp_path: Path) -> Callable[..., Path]:
    """Write the log of a run of four epochs, whose loss falls from `first` by a percent a step."""

    def write(corpus: str = "cc3m", objective: str = "clip", seed: int = 1, steps: int = 400) -> Path:
        run = _run(corpus, objective, seed)
        events: list[dict[str, object]] = [{"event": "start", "run": run}]
        for step in range(1, steps + 1):
            epoch = 4 * step / steps
            events.append({"event": "step", "step": step, "epoch": epoch, "loss": 6 * 0.99**step})
            if epoch == int(epoch):
                recalls = {"image_to_text_r1": 0.1 * epoch, "text_to_image_r1": 0.09 * epoch}
                events.append({"event": "validation", "epoch": int(epoch), "samples": 100} | recalls)
        path = tmp_path / "train" / str(run["name"]) / "metrics.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(json.dumps(event) + "\n" for event in events))
        return path

    return write
