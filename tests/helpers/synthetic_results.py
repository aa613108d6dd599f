"""Synthetic result files and logs of four objectives, several seeds and epochs, as the stages write them.

The numbers are generated; their order is the paper's, so that figures can be judged by eye.
"""

import base64
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

OBJECTIVES = ("clip", "infonce_hopfield", "infoloob", "cloob")
DATASETS = {
    "birdsnap": ("a painted bunting", "a house wren", "a barn owl", "a grey catbird"),
    "country211": ("Portugal", "Chile", "the Faroe Islands", "Saint Vincent and the Grenadines"),
    "flowers102": ("oxeye daisy", "sweet william", "bird of paradise", "hippeastrum"),
    "gtsrb": ("red and white circle 50 kph speed limit", "yield", "stop", "roundabout"),
    "ucf101": ("Apply Eye Makeup", "Handstand Walking", "Rowing", "Tai Chi"),
    "stanford_cars": ("2012 Audi S5 Coupe", "2007 BMW X5 SUV", "1993 Volvo 240 Sedan", "2012 Fiat 500"),
    "imagenet": ("tench", "great white shark", "hammerhead shark", "cock"),
    "imagenetv2": ("tench", "great white shark", "hammerhead shark", "cock"),
    "imagenetv2_threshold": ("tench", "great white shark", "hammerhead shark", "cock"),
    "imagenetv2_top_images": ("tench", "great white shark", "hammerhead shark", "cock"),
}


@dataclass
class SyntheticResults:
    """Paths of the generated files by kind."""

    zeroshot: list[Path] = field(default_factory=list)
    structure: list[Path] = field(default_factory=list)
    predictions: list[Path] = field(default_factory=list)
    logs: list[Path] = field(default_factory=list)
    summaries: list[Path] = field(default_factory=list)


def write_synthetic_results(
    folder: Path,
    corpora: Sequence[str] = ("cc3m",),
    objectives: Sequence[str] = OBJECTIVES,
    seeds: Sequence[int] = (1, 2, 3, 4, 5),
    epochs: Sequence[int] = (1, 8, 31, 64, 128),
    eval_epochs: Sequence[int] = (31, 128),
    architecture: str = "RN50",
) -> SyntheticResults:
    """Write the input of all figures below `folder`."""
    results = SyntheticResults()
    for corpus in corpora:
        results.summaries.append(_write(folder / "download" / corpus / "summary.csv", SUMMARY))
        for objective in objectives:
            for seed in seeds:
                run = _run(corpus, objective, seed, architecture)
                random = np.random.default_rng([seed, OBJECTIVES.index(objective), len(corpus)])
                results.logs.append(_write_log(folder, run, epochs[-1], random))
                for epoch in epochs:
                    path = folder / "evaluate" / run["name"] / f"epoch_{epoch}"
                    results.structure.append(_write_structure(path, run, epoch, random))
                    if epoch in eval_epochs:
                        results.zeroshot += _write_zeroshot(path, run, epoch, random)
                if seed == seeds[0] and objective == objectives[-1]:
                    results.predictions += _write_predictions(path, run, epochs[-1], random)
    return results


def _run(corpus: str, objective: str, seed: int, architecture: str) -> dict[str, Any]:
    return {
        "name": f"{corpus}-{objective}-{architecture}-{corpus}-seed{seed}",
        "corpus": corpus,
        "objective": objective,
        "architecture": architecture,
        "recipe": corpus,
        "seed": seed,
    }


def _write(path: Path, content: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def _write_zeroshot(folder: Path, run: dict, epoch: int, random: np.random.Generator) -> list[Path]:
    advantage = 0.03 * OBJECTIVES.index(run["objective"]) + 0.0004 * epoch
    paths = []
    for index, dataset in enumerate(DATASETS):
        accuracy = 0.05 + 0.03 * index + advantage + 0.008 * random.standard_normal()
        content = {
            "run": run,
            "epoch": epoch,
            "dataset": dataset,
            "title": dataset,
            "protocol": "zeroshot",
            "images": 1000,
            "classes": 20,
            "chance": 0.05,
            "metrics": {"accuracy": accuracy, "accuracy_top5": 0.5, "mean_per_class_accuracy": accuracy},
            "intervals": {"accuracy": [accuracy - 0.02, accuracy + 0.021]},
        }
        paths.append(_write(folder / "zeroshot" / f"{dataset}.json", content))
    return paths


def _write_structure(folder: Path, run: dict, epoch: int, random: np.random.Generator) -> Path:
    kind = OBJECTIVES.index(run["objective"])
    growth = (0.07, 0.17, 0.04, 0.63)[kind] * (epoch / 128) ** 0.7
    count = 420 * (1 + growth + 0.01 * random.standard_normal())
    ranks = np.arange(1, 513)
    spectra = {
        tower: list(np.exp(-ranks / (60 + 40 * growth + 2 * random.random())) + 1e-5)
        for tower in ("image", "text")
    }
    ajne = (45, 30, 5, 3)[kind] * (1 - 0.002 * epoch) + 0.6 * random.standard_normal()
    edges = np.linspace(-1, 1, 101)
    matched = random.normal(0.5 + 0.08 * (kind % 2), 0.12, 2000)
    unmatched = random.normal(0.05, 0.11 - 0.01 * kind, 40_000)
    content = {
        "run": run,
        "epoch": epoch,
        "dataset": "cc3m_validation",
        "title": "Conceptual Captions, validation",
        "protocol": "embedding_structure",
        "images": 2000,
        "metrics": {
            "effective_eigenvalues_image": round(count),
            "effective_eigenvalues_text": round(0.9 * count),
            "ajne_image": ajne,
            "ajne_text": 0.9 * ajne,
        },
        "spectrum": spectra,
        "similarities": {
            "edges": list(edges),
            "matched": np.histogram(matched, edges)[0].tolist(),
            "unmatched": np.histogram(unmatched, edges)[0].tolist(),
        },
    }
    return _write(folder / "embedding_structure" / "cc3m_validation.json", content)


def _write_log(folder: Path, run: dict, epochs: int, random: np.random.Generator) -> Path:
    kind, steps_per_epoch = OBJECTIVES.index(run["objective"]), 4
    start = {"event": "start", "samples_seen": 0, "run": run, "processes": 4, "device": "GPU", "restarts": 0}
    start |= {"recipe": {"batch_size": 512}, "model_config": {"embed_dim": 512}, "pairs": 2048}
    start |= {"corpus_sha256": "c" * 64, "urls_sha256": "d" * 64, "commit": "0" * 40, "torch": "2.15.0"}
    events: list[dict[str, object]] = [start]
    total = epochs * steps_per_epoch
    for step in range(1, total + 1):
        progress = step / total
        batch_seconds = 0.21 + 0.02 * kind + 0.01 * random.random()
        events.append(
            {
                "event": "step",
                "samples_seen": 512 * step,
                "step": step,
                "steps": total,
                "epoch": step / steps_per_epoch,
                "loss": (6 if kind < 2 else 0.9) * np.exp(-2.2 * progress) + 0.03 * random.standard_normal(),
                "learning_rate": 1e-3 * min(1, 10 * progress) * 0.5 * (1 + np.cos(np.pi * progress)),
                "data_seconds": 0.012 + 0.004 * random.random(),
                "batch_seconds": batch_seconds,
                "samples_per_second": 512 / batch_seconds,
            }
        )
        if step % steps_per_epoch == 0:
            p = (0.75, 0.93, 0.55, 0.82)[kind] * (1 - np.exp(-5 * progress)) + 0.01 * random.standard_normal()
            recall = 0.3 * (1 - np.exp(-3 * progress)) + 0.01 * kind + 0.004 * random.standard_normal()
            events.append(
                {
                    "event": "validation",
                    "samples_seen": 512 * step,
                    "epoch": step // steps_per_epoch,
                    "loss": 1.0,
                    "saturation": 1 - p,
                    "image_to_text_r1": recall,
                    "text_to_image_r1": 0.93 * recall,
                }
            )
    path = folder / "train" / run["name"] / "metrics.jsonl"
    return _write(path, "".join(json.dumps(event) + "\n" for event in events))


def _write_predictions(folder: Path, run: dict, epoch: int, random: np.random.Generator) -> list[Path]:
    paths = []
    for dataset, classes in DATASETS.items():
        samples = []
        for label in range(3):
            pixels = random.integers(0, 255, (6, 8, 3), dtype=np.uint8)
            buffer = io.BytesIO()
            Image.fromarray(pixels).resize((160, 120), Image.Resampling.BICUBIC).save(buffer, "JPEG")
            order = random.permutation(4)
            probabilities = sorted(random.dirichlet([0.6] * 5)[:4], reverse=True)
            samples.append(
                {
                    "label": label,
                    "class": classes[label],
                    "image_jpeg": base64.b64encode(buffer.getvalue()).decode(),
                    "top": [
                        {"class": classes[index], "probability": float(probability)}
                        for index, probability in zip(order, probabilities, strict=True)
                    ],
                }
            )
        content = {"run": run, "epoch": epoch, "dataset": dataset, "title": dataset, "samples": samples}
        paths.append(_write(folder / "predictions" / f"{dataset}.json", content))
    return paths


SUMMARY = """split,stage,outcome,http_status,rows
train,list,kept,,3950
train,list,malformed_row,,31
train,list,duplicate_url,,19
train,fetch,kept,200,3301
train,fetch,http_404,404,300
train,fetch,dns,,120
train,fetch,timeout,,80
train,fetch,not_an_image,200,60
train,fetch,too_small,200,40
train,fetch,truncated,200,20
train,fetch,http_500,500,10
train,fetch,http_500,503,9
train,fetch,redirect_loop,,5
train,fetch,too_many_bytes,,3
train,fetch,aspect_ratio,200,1
train,fetch,address_not_public,,1
validation,list,kept,,318
validation,list,malformed_row,,2
validation,fetch,kept,200,270
validation,fetch,http_404,404,48
"""
