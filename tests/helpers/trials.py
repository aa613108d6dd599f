"""Logs of finished trials of a hyperparameter search."""

import json
from pathlib import Path
from typing import Any

RECIPE: dict[str, Any] = {"epochs": 2, "learning_rate": 1e-3, "warmup_steps": 10, "weight_decay": 0.1}
RUN = {"corpus": "cc3m", "objective": "cloob", "architecture": "tiny", "recipe": "r", "seed": 0}


def write_trial(
    folder: Path,
    recall: float | None,
    *,
    run: dict[str, Any] | None = None,
    start: dict[str, Any] | None = None,
    validation: dict[str, Any] | None = None,
    **values: Any,
) -> Path:
    """The log of a trial with R@1 `recall` in both directions (None: it diverged); returns its path."""
    recalls = dict.fromkeys(("image_to_text_r1", "text_to_image_r1"), recall)
    recalls |= {f"{direction}_r{k}": 0.9 for direction in ("image_to_text", "text_to_image") for k in (5, 10)}
    events = [
        {
            "event": "start",
            "run": RUN | (run or {}),
            "recipe": RECIPE | values,
            "corpus_sha256": "a1",
            "validation_sha256": "v1",
            "model_config": {"embed_dim": 8},
        }
        | (start or {}),
        {"event": "step", "step": 1, "loss": 0.5},
        {"event": "validation", "epoch": 1, "samples": 100} | recalls | {"image_to_text_r1": 0.99},
    ]
    if recall is None:
        events[-1:] = [{"event": "diverged", "message": "the loss is not finite at step 2"}]
    else:
        events.append({"event": "validation", "epoch": 2, "samples": 100} | recalls | (validation or {}))
    folder.mkdir(parents=True)
    path = folder / "metrics.jsonl"
    path.write_text("".join(json.dumps(event) + "\n" for event in events))
    return path
