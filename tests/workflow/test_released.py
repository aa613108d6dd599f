"""The tables of released checkpoints: a checkpoint is downloaded, recognized, evaluated and compared.

The server is local and the weights are random, in the authors' format; an independent implementation computes
the expected numbers.
"""

import io
import json
import shutil
from itertools import product
from pathlib import Path

import open_clip
import pandas as pd
import pytest
import torch
import yaml
from PIL import Image
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from cloob.evaluate.testsets.image_folder import load_image
from cloob.models.config import model_config
from cloob.models.preprocessing import evaluation_transform
from tests.helpers.authors_checkpoints import ReferenceModel, released
from tests.helpers.range_server import RangeServer, ServedFile
from tests.helpers.repository import ROOT

CONFIG = yaml.safe_load((ROOT / "config" / "config.yaml").read_text())
NAMES = ["hawk", "gull", "wren"]

pytestmark = pytest.mark.xdist_group("released")


def make_testset(folder: Path, server: RangeServer) -> Path:
    """Serve a zip of 3 classes with 4 test and 4 training images; returns the spec that downloads it."""
    for index, (split, label) in enumerate(product(("test", "train"), range(3))):
        (folder / split / f"{label}").mkdir(parents=True)
        for number in range(4):
            torch.manual_seed(10 * index + number)
            pixels = torch.randint(256, (7, 9, 3), dtype=torch.uint8).numpy()
            image = Image.fromarray(pixels).resize((260, 240))
            image.save(folder / split / f"{label}" / f"{number}.png")
    spec = {
        "name": "birdsnap",
        "title": "Birdsnap",
        "test": "test",
        "train": "train",
        "labels": "folder_order",
        "classes": NAMES,
        "prompts": ["a photo of a {}, a type of bird."],
        "metric": "accuracy",
        "expected": {"classes": 3, "images": 12, "empty": []},
        "source": {
            "processed": {
                "layout": "class_folders",
                "files": [{"url": server.url_of("birdsnap.zip"), "max_bytes": 5_000_000}],
            }
        },
    }
    archive = shutil.make_archive(folder.parent / "birdsnap", "zip", folder)
    server.files["birdsnap.zip"] = ServedFile(Path(archive).read_bytes())
    (folder / "birdsnap.yaml").write_text(yaml.safe_dump(spec))
    return folder / "birdsnap.yaml"


class ReferenceWithoutProjection(ReferenceModel):
    """The oracle without the final projection of its image tower."""

    def _linear(self, x: Tensor, name: str) -> Tensor:
        return x if name == "visual.attnpool.c_proj" else super()._linear(x, name)


@torch.inference_mode()
def oracle_features(checkpoint: dict, folder: Path) -> dict[str, Tensor]:
    """Both kinds of features of the images of a split, and their labels."""
    transform = evaluation_transform(model_config("RN50-quickgelu"))
    paths = sorted(folder.rglob("*.png"))
    pixels = torch.stack([transform(load_image(str(path))) for path in paths]).double()
    before = ReferenceWithoutProjection(checkpoint).image(pixels)
    return {
        "before_projection": before,
        "after_projection": ReferenceModel(checkpoint)._linear(before, "visual.attnpool.c_proj"),
        "labels": torch.tensor([int(path.parent.name) for path in paths]),
    }


@torch.inference_mode()
def oracle_accuracy(checkpoint: dict, images: dict[str, Tensor]) -> float:
    oracle = ReferenceModel(checkpoint)
    tokens = open_clip.SimpleTokenizer(context_length=77)(
        [f"a photo of a {name}, a type of bird." for name in NAMES]
    )
    classes = torch.stack([oracle.text(prompt) for prompt in tokens])
    classes = classes / classes.norm(dim=1, keepdim=True)
    predicted = (images["after_projection"] @ classes.T).argmax(1)
    return (predicted == images["labels"]).double().mean().item()


def scikit_learn_accuracy(
    train: dict[str, Tensor], test: dict[str, Tensor], features: str, strength: float
) -> float:
    """Accuracy of scikit-learn's regression on all training images, in the subspace that they span."""
    span = torch.linalg.qr(train[features].T).Q
    regression = LogisticRegression(C=1 / strength, tol=1e-12, solver="newton-cholesky")
    regression.fit(train[features] @ span, train["labels"])
    return regression.score(test[features] @ span, test["labels"])


def test_a_released_checkpoint_is_downloaded_evaluated_and_compared(snakemake, config_with, tmp_path):
    results, checkpoint = tmp_path / "results", released("RN50")
    saved = io.BytesIO()
    torch.save(checkpoint, saved)
    with RangeServer() as server:
        spec = make_testset(tmp_path / "birds", server)
        served = server.files["cloob_rn50_yfcc_epoch_28.pt"] = ServedFile(
            saved.getvalue(), cuts=[300_000_000]
        )
        changes = {
            "results": str(results),
            "title_suffix": "random weights",
            "released_checkpoints": dict.fromkeys(CONFIG["released_checkpoints"])
            | {
                "cloob_rn50_yfcc": {"url": server.url_of("cloob_rn50_yfcc_epoch_28.pt")},
            },
            "testsets": dict.fromkeys(CONFIG["testsets"])
            | {"birdsnap": {"spec": str(spec), "folder": None, "probe_train_set": "birdsnap"}},
            # With stronger L2 all logits would be equal within the tolerance of the fit.
            "evaluate": {"workers": 0, "linear_probe": {"l2_num": 3, "l2_max": 1.0}},
        }
        target = results / "tables" / "released.csv"
        probe_target = results / "tables" / "released_linear_probe.csv"
        run = snakemake(target, probe_target, "--cores", 2, "--nolock", "--configfile", config_with(changes))
    assert run.returncode == 0, run.stdout[-3000:] + run.stderr[-3000:]
    assert served.requested_ranges == ["", "bytes=300000000-"]
    row = pd.read_csv(target).iloc[0]
    assert (row.pretraining, row.architecture, row.method, row.epoch) == ("YFCC15M", "RN50", "CLOOB", 28)
    assert (row.dataset, row.images, row.published_accuracy_pct) == ("birdsnap", 12, 28.9)
    train, test = (oracle_features(checkpoint, tmp_path / "birds" / split) for split in ("train", "test"))
    assert row.accuracy_pct == pytest.approx(100 * oracle_accuracy(checkpoint, test))
    assert row.difference_pct == pytest.approx(row.accuracy_pct - 28.9)
    page = target.with_suffix(".md").read_text()
    assert "random weights" in page.splitlines()[0]
    assert "## CLOOB, RN50, YFCC15M, epoch 28" in page
    probes = pd.read_csv(probe_target)
    assert probes.features.tolist() == ["after_projection", "before_projection"]
    assert set(probes.published_accuracy_pct) == {56.2}
    result = results / "evaluate" / "released" / "cloob_rn50_yfcc" / "linear_probe" / "birdsnap.json"
    strengths = [probe["l2_strength"] for probe in json.loads(result.read_text())["probes"]]
    expected = [
        100 * scikit_learn_accuracy(train, test, *arguments)
        for arguments in zip(probes.features, strengths, strict=True)
    ]
    assert probes.accuracy_pct.tolist() == pytest.approx(expected)
    assert probes.converged.all()


@pytest.mark.parametrize("table", ["released", "released_linear_probe", "released_retrieval"])
def test_the_plan_downloads_the_released_models_and_trains_nothing(snakemake, table):
    plan = snakemake("-n", "-p", f"results/tables/{table}.csv")
    assert plan.returncode == 0, plan.stderr
    for name, block in CONFIG["released_checkpoints"].items():
        if "url" in block:
            assert f"results/download/released/{name}.pt" in plan.stdout
            assert block["url"] in plan.stdout
        else:
            source = f"{block['open_clip']}:{block['pretrained']}"
            assert f"cloob export {source} --out=results/download/released/{name} " in plan.stdout
    assert "rule train:" not in plan.stdout
