"""Models of open_clip, from files in its own formats to tables and figures: exported, evaluated, shown."""

import json
import shutil
from pathlib import Path

import open_clip
import pandas as pd
import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import save_file

from cloob.common.json_files import write_json
from tests.helpers.fork_server import forking_python
from tests.helpers.repository import ROOT
from tests.helpers.tiny_models import MODEL_CONFIG, VIT_CONFIG
from tests.helpers.tiny_runs import save_tiny_run

CONFIG = yaml.safe_load((ROOT / "config" / "config.yaml").read_text())
NAMES = ["hawk", "gull", "wren"]
PROMPT = "a photo of a {}."
PREPROCESS = {
    "size": 32,
    "mode": "RGB",
    "mean": [0.5, 0.5, 0.5],
    "std": [0.2, 0.2, 0.2],
    "interpolation": "bilinear",
    "resize_mode": "squash",
    "fill_color": 0,
}
SMALLEST = "ViT-S-32-alt"  # of the architectures that open_clip knows by name
RUN = "cc3m-cloob-tiny-cc3m-seed1"


@pytest.fixture(scope="module")
def birds(tmp_path_factory):
    """Three classes of four test images; returns the spec, next to the folder of images."""
    folder = tmp_path_factory.mktemp("birds")
    for label, name in enumerate(NAMES):
        (folder / "images" / "test" / name).mkdir(parents=True)
        for number in range(4):
            torch.manual_seed(10 * label + number)
            pixels = torch.randint(256, (7, 9, 3), dtype=torch.uint8).numpy()
            image = Image.fromarray(pixels).resize((70, 50))
            image.save(folder / "images" / "test" / name / f"{number}.png")
    spec = {
        "name": "birds",
        "title": "Birds",
        "test": "test",
        "labels": "folder_order",
        "classes": sorted(NAMES),
        "prompts": [PROMPT],
        "metric": "accuracy",
    }
    (folder / "birds.yaml").write_text(yaml.safe_dump(spec))
    return folder / "birds.yaml"


def write_folder(folder: Path) -> None:
    """A model as open_clip writes it for the Hugging Face hub, with a preprocessing of its own."""
    torch.manual_seed(1)
    model = open_clip.CLIP(**VIT_CONFIG)
    folder.mkdir()
    save_file(model.state_dict(), folder / "open_clip_model.safetensors")
    write_json(folder / "open_clip_config.json", {"model_cfg": VIT_CONFIG, "preprocess_cfg": PREPROCESS})


def write_file(path: Path) -> None:
    """A checkpoint as open_clip's training leaves it."""
    torch.manual_seed(2)
    weights = open_clip.create_model(SMALLEST).state_dict()
    state = {f"module.{name}": weight for name, weight in weights.items()}
    torch.save({"epoch": 32, "name": "run", "state_dict": state, "optimizer": {}, "scaler": {}}, path)


@torch.inference_mode()
def open_clip_accuracy(images: Path, *model: str) -> float:
    """Zero-shot accuracy in percent by open_clip alone."""
    encoder, preprocess = open_clip.create_model_from_pretrained(*model)
    encoder.eval()
    tokens = open_clip.get_tokenizer(model[0])([PROMPT.format(name) for name in sorted(NAMES)])
    classes = encoder.encode_text(tokens, normalize=True)
    paths = sorted((images / "test").rglob("*.png"))
    pixels = torch.stack([preprocess(Image.open(path)) for path in paths])
    predicted = (encoder.encode_image(pixels, normalize=True) @ classes.T).argmax(1)
    labels = torch.tensor([sorted(NAMES).index(path.parent.name) for path in paths])
    return 100 * (predicted == labels).double().mean().item()


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_local_models_are_evaluated_like_open_clip_itself(snakemake, config_with, birds, tmp_path):
    folder, file, results = tmp_path / "a model", tmp_path / "epoch_32.pt", tmp_path / "results"
    write_folder(folder)
    write_file(file)
    run = results / "train" / RUN
    save_tiny_run(run)
    (run / "checkpoints").mkdir()
    shutil.copy(run / "final.pt", run / "checkpoints" / "epoch_0031.pt")
    (tmp_path / "tiny.json").write_text(json.dumps(MODEL_CONFIG))
    names = {"pretraining": "LAION-2B", "architecture": "tiny"}
    changes = {
        "results": str(results),
        "title_suffix": "random weights",
        "released_checkpoints": dict.fromkeys(CONFIG["released_checkpoints"])
        | {
            "from_folder": {"open_clip": f"local-dir:{folder}", "method": "folder"} | names,
            "from_file": {"open_clip": SMALLEST, "pretrained": str(file), "method": "file"} | names,
        },
        "baselines": ["from_folder", "from_file"],
        "architectures": {"tiny": str(tmp_path / "tiny.json")},
        "recipes": {"cc3m": {"eval_epochs": [31]}},
        "runs": [
            {
                "corpus": "cc3m",
                "architectures": ["tiny"],
                "recipe": "cc3m",
                "objectives": ["cloob"],
                "seeds": [1],
            }
        ],
        "testsets": dict.fromkeys(CONFIG["testsets"])
        | {"birds": {"spec": str(birds), "folder": str(birds.parent / "images"), "probe_train_set": None}},
        "evaluate": {"workers": 0},
    }
    target, figure = results / "tables" / "released.csv", results / "figures" / "zeroshot.png"
    with forking_python(tmp_path / "programs") as programs:
        arguments = (target, figure, "--cores", 1, "--nolock", "--configfile", config_with(changes))
        done = snakemake(*arguments, programs=[programs])
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    table = pd.read_csv(target).set_index("method")
    images = birds.parent / "images"
    expected = {
        "folder": open_clip_accuracy(images, f"local-dir:{folder}"),
        "file": open_clip_accuracy(images, SMALLEST, str(file)),
    }
    assert table.accuracy_pct.to_dict() == pytest.approx(expected)
    assert table.published_accuracy_pct.isna().all()
    assert "## folder, tiny, LAION-2B\n" in target.with_suffix(".md").read_text()
    data = pd.read_csv(figure.with_suffix(".csv"), keep_default_na=False).set_index("released")
    shown = {f"{method}, tiny, LAION-2B": value / 100 for method, value in expected.items()}
    assert data.value.drop("").to_dict() == pytest.approx(shown)
    assert data.loc["", "objective"] == "cloob"
