"""The model card of a trained run for the Hugging Face hub, generated from the run's own results."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from cloob.common.directories import sorted_glob
from cloob.common.errors import InputError
from cloob.objectives.registry import OBJECTIVES
from cloob.report.load.logs import Log, read_log
from cloob.report.load.result_files import image_interval, read_result
from cloob.report.names import DATASETS, display_name, positions
from cloob.report.render.document import Document, Section, to_markdown
from cloob.report.render.numbers import MISSING, number
from cloob.report.render.text import Code, Prose

PAPER = "https://arxiv.org/abs/2110.11316"
WEIGHTS_SHA256 = "SHA-256 of the weights and the architecture"
# Protocol -> the heading and the metrics of its table.
_PROTOCOLS: dict[str, tuple[str, dict[str, str]]] = {
    "zeroshot": ("Zero-shot accuracy (%)", {"accuracy": "Accuracy", "accuracy_top5": "Top 5"}),
    "linear_probe": ("Linear-probe accuracy (%)", {"accuracy": "Accuracy"}),
    "retrieval": (
        "Image-text retrieval (%)",
        {
            f"{direction}_r{k}": f"{title}, R@{k}"
            for direction, title in (("image_to_text", "Image to text"), ("text_to_image", "Text to image"))
            for k in (1, 5)
        },
    ),
}
_USAGE = """## Usage

With [open_clip](https://github.com/mlfoundations/open_clip), from this folder or, as `hf-hub:OWNER/NAME`,
from the hub:

```python
import open_clip

model, preprocess = open_clip.create_model_from_pretrained("local-dir:FOLDER")
tokenizer = open_clip.get_tokenizer("local-dir:FOLDER")
```

With the repository that trained it: `cloob.load_model("FOLDER")`.
"""
_INTENDED_USE = """## Intended use and limitations

A research model, for comparisons of contrastive objectives under equal conditions. It reflects the errors and
stereotypes of its training data; captions from the web also contain offensive text. It should not be used to
identify or to judge people, or for decisions without human review. The accuracies above are of the listed
test sets with their prompts, and do not carry over to other data.
"""
_CITATION = """## Citation

```bibtex
@article{furst2021cloob,
  title = {{CLOOB}: Modern {Hopfield} Networks with {InfoLOOB} Outperform {CLIP}},
  author = {F{\\"u}rst, Andreas and Rumetshofer, Elisabeth and Lehner, Johannes and Tran, Viet and
            Tang, Fei and Ramsauer, Hubert and Kreil, David and Kopp, Michael and Klambauer, G{\\"u}nter and
            Bitto-Nemling, Angela and Hochreiter, Sepp},
  journal = {arXiv:2110.11316},
  year = {2021}
}
```
"""


@dataclass(frozen=True)
class TrainedModel:
    """A checkpoint of a run: its metadata (`run`, `epoch`, `recipe`, `corpus_sha256`), a hash of its weights.

    `results` is the results folder of the workflow that contains the run.
    """

    metadata: Mapping[str, Any]
    sha256: str
    results: Path

    @property
    def name(self) -> str:
        """The name of the run."""
        return str(self.metadata["run"]["name"])


def model_card(model: TrainedModel, license_name: str, corpus_title: str | None = None) -> str:
    """The card in Markdown with its YAML header; numbers of protocols without results are left out.

    Raises `InputError` for a result of other weights, and for damaged result files and logs.
    """
    results = {protocol: _results(model, protocol) for protocol in _PROTOCOLS}
    sections = [_training(model, corpus_title), _recipe(model)]
    sections += [_metrics(protocol, found) for protocol, found in results.items() if found]
    objective = OBJECTIVES[model.metadata["run"]["objective"]]
    summary: list[Prose] = [
        f"{objective.title}: {objective.description}.",
        ("Trained from scratch by a reproduction of the CLOOB paper, ", Code(PAPER), "."),
    ]
    if not any(results.values()):
        summary.append("This checkpoint has not been evaluated.")
    body = to_markdown(Document(model.name, [part for part in sections if part.rows], summary=summary), "")
    licence = f"## License\n\nWeights: `{license_name}`. The training data have licenses of their own.\n"
    header = yaml.safe_dump(
        _header(model, results, license_name), sort_keys=False, allow_unicode=True, width=1000
    )
    return "\n".join([f"---\n{header}---\n", body, _USAGE, _INTENDED_USE, licence, _CITATION])


def _results(model: TrainedModel, protocol: str) -> list[dict[str, Any]]:
    """The results of the run at its epoch, in the order of the paper's test sets."""
    folder = model.results / "evaluate" / model.name / f"epoch_{model.metadata['epoch']}" / protocol
    found = []
    for path in sorted_glob(folder, "*.json"):
        result = read_result(path, protocol, run_keys=("name",), keys=("protocol", "title", "metrics"))
        if result.get("checkpoint_sha256") != model.sha256:
            raise InputError(f"{path}: of other weights than the exported ones; evaluate the run again")
        found.append(result | {"path": path})
    order = positions((result["dataset"] for result in found), DATASETS)
    return sorted(found, key=lambda result: order[result["dataset"]])


def _metrics(protocol: str, results: Sequence[Mapping[str, Any]]) -> Section:
    title, metrics = _PROTOCOLS[protocol]
    rows = [
        [_title(result), f"{result.get('images', MISSING)}", *(_percent(result, key) for key in metrics)]
        for result in results
    ]
    remark = (
        "In brackets: the 95% confidence interval over test images (bootstrap), of this one training run."
    )
    columns = "lr" + "r" * len(metrics)
    remarks = [remark] if any("[" in cell for row in rows for cell in row[2:]) else []
    return Section(title, columns, ["Dataset", "Images", *metrics.values()], rows, remarks=remarks)


def _title(result: Mapping[str, Any]) -> str:
    return display_name(result["dataset"], {result["dataset"]: str(result["title"])} | DATASETS)


def _percent(result: Mapping[str, Any], metric: str) -> str:
    value = result["metrics"].get(metric)
    low, high = image_interval(dict(result), metric, result["path"])
    text = number(None if value is None else 100 * value)
    return text if low is None or high is None else f"{text} [{100 * low:.2f}, {100 * high:.2f}]"


def _training(model: TrainedModel, corpus_title: str | None) -> Section:
    run, log = model.metadata["run"], _log(model)
    corpus = corpus_title or str(run["corpus"])
    if (model.results / "toy_data").is_dir():
        corpus = f"{corpus}: synthetic images of the toy dataset, not the real corpus"
    facts = {
        "Objective": OBJECTIVES[run["objective"]].title,
        "Architecture": run["architecture"],
        "Training data": corpus,
        "Image-text pairs": log and log.starts[-1].get("pairs"),
        "SHA-256 of the training data": model.metadata.get("corpus_sha256"),
        "Epochs": model.metadata["epoch"],
        "Seed": run["seed"],
        "Hardware": log and f"{log.starts[-1].get('processes')} × {log.starts[-1].get('device')}",
        "Hours in training steps": log and _hours(log, model.metadata["epoch"]),
        "Code": log and log.starts[-1].get("commit"),
        WEIGHTS_SHA256: model.sha256,
    }
    return _facts("Training", facts)


def _log(model: TrainedModel) -> Log | None:
    folder = model.results / "train" / model.name
    paths = [folder / name for name in ("metrics.parquet", "metrics.jsonl")]
    existing = [path for path in paths if path.is_file()]
    return read_log(existing[0], step=("batch_seconds", "epoch")) if existing else None


def _hours(log: Log, epoch: int) -> str | None:
    """The hours of the whole log, unless it has later steps than the checkpoint."""
    return number(log.hours) if log.steps(["epoch"]).epoch.iloc[-1] == epoch else None


def _recipe(model: TrainedModel) -> Section:
    return _facts("Recipe", model.metadata.get("recipe") or {})


def _facts(title: str, facts: Mapping[str, Any]) -> Section:
    rows = [[name, f"{value}"] for name, value in facts.items() if value is not None]
    return Section(title, "ll", ["", "Value"], rows)


def _header(
    model: TrainedModel, results: Mapping[str, Sequence[Mapping[str, Any]]], license_name: str
) -> dict[str, Any]:
    """The metadata that the hub reads."""
    entries = [
        {
            "task": {"type": "zero-shot-image-classification"},
            "dataset": {"name": _title(result), "type": result["dataset"]},
            "metrics": [
                {"type": "accuracy", "name": "zero-shot top-1", "value": round(100 * value, 2)}
                for value in [result["metrics"].get("accuracy")]
                if value is not None
            ],
        }
        for result in results["zeroshot"]
    ]
    header: dict[str, Any] = {
        "license": license_name,
        "library_name": "open_clip",
        "pipeline_tag": "zero-shot-image-classification",
        "tags": ["clip", str(model.metadata["run"]["objective"])],
    }
    if entries:
        header["model-index"] = [{"name": model.name, "results": entries}]
    return header
