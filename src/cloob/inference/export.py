"""`cloob export`: a model as a folder for open_clip and the Hugging Face hub, with a model card."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from cloob.common.atomic_files import atomic_write
from cloob.common.errors import InputError

if TYPE_CHECKING:
    from cloob.models.interface import ImageTextModel


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument(
        "model",
        metavar="MODEL",
        help="run (results/train/RUN), checkpoint, folder in open_clip's format, or open_clip model",
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="output folder; default, for a run: export/RUN in its results folder, or export/RUN-CHECKPOINT "
        "for a checkpoint other than final.pt",
    )
    parser.add_argument(
        "--model-card",
        action="store_true",
        help="also write README.md, the model card of a run: data, recipe, results with confidence "
        "intervals, intended use, license and citation",
    )
    parser.add_argument(
        "--license", default="mit", metavar="ID", help="license of the weights in the model card"
    )
    parser.add_argument("--corpus-title", metavar="TEXT", help="training data in the model card")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Write the folder; nothing is uploaded."""
    folder = _run_folder(Path(options.model))
    out = options.out or (folder and _default_folder(Path(options.model), folder))
    if out is None:
        raise InputError(f"--out: give the output folder, because {options.model} is not the folder of a run")
    if options.model_card and folder is None:
        raise InputError(f"--model-card: {options.model} is not a run; give results/train/RUN")
    if out.exists() and not out.is_dir():
        raise InputError(f"{out}: not a folder; give another --out")
    from cloob.models.export import export_model
    from cloob.models.load import load_model

    model = load_model(options.model)
    card = _model_card(model, folder, options) if options.model_card and folder else None
    readme = out / "README.md"
    if card is not None or _is_card_of_other_weights(readme, model):  # never beside weights of another model
        readme.unlink(missing_ok=True)
    export_model(model, out)
    if card is not None:
        with atomic_write(readme) as temporary:
            temporary.write_text(card, encoding="utf-8", errors="backslashreplace")
    print(f"{out}: {', '.join(sorted(path.name for path in out.iterdir() if path.is_file()))}")


def _run_folder(path: Path) -> Path | None:
    """The folder of the run (`RESULTS/train/RUN`) that `path` is, or that contains this checkpoint."""
    path = path.absolute()
    candidates = (path, path.parent, path.parent.parent)
    return next((folder for folder in candidates if (folder / "final.pt").is_file()), None)


def _default_folder(model: Path, run: Path) -> Path:
    """`RESULTS/export/RUN`, with the name of the checkpoint if it is not the final one."""
    is_earlier = model.is_file() and model.suffix == ".pt" and model.name != "final.pt"
    return run.parent.parent / "export" / (f"{run.name}-{model.stem}" if is_earlier else run.name)


def _is_card_of_other_weights(readme: Path, model: "ImageTextModel") -> bool:
    """Whether a file is a model card that names other weights; texts of users are kept."""
    from cloob.evaluate.features.extractor import model_sha256
    from cloob.report.model_card import WEIGHTS_SHA256

    if not readme.is_file():
        return False
    text = readme.read_text(encoding="utf-8", errors="replace")
    return WEIGHTS_SHA256 in text and model_sha256(model) not in text


def _model_card(model: "ImageTextModel", folder: Path, options: argparse.Namespace) -> str:
    from cloob.evaluate.features.extractor import model_sha256
    from cloob.models.open_clip_models import OpenCLIPModel
    from cloob.objectives.registry import OBJECTIVES
    from cloob.report.model_card import TrainedModel, model_card

    if isinstance(model, OpenCLIPModel):
        raise InputError(
            f"--model-card: {options.model} is an export, which has no record of its training; give {folder}"
        )
    run = model.metadata["run"]
    missing = {"name", "corpus", "objective", "architecture", "seed"} - set(run)
    if missing or model.metadata["epoch"] is None or run["objective"] not in OBJECTIVES:
        raise InputError(
            f"{folder}: its checkpoint does not describe a run of `cloob train`; omit --model-card"
        )
    trained = TrainedModel(model.metadata, model_sha256(model), folder.parent.parent)
    return model_card(trained, options.license, options.corpus_title)
