"""Accuracies and recalls of this pipeline and of clip-benchmark 1.6 on the same model, digit by digit.

The eight test sets of the toy dataset and a retrieval set with several captions per image are written in
CLIP_benchmark's webdataset layout. clip-benchmark is installed from PyPI into an environment of its own,
which uses this environment's torch, open_clip and webdataset: other versions would round differently. Its
`accuracy()` fails with this NumPy version and is replaced (`clip_benchmark_run.py`); all else is its own.
The script fails if a number differs. `--checkpoint` gives a trained run; by default, weights are random.
"""

import argparse
import io
import json
import random
import subprocess
import sys
import tarfile
import tempfile
import venv
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from evaluate import generate_testsets, save_random_checkpoint
from PIL import Image

from cloob.common.json_files import read_json, write_json
from cloob.evaluate.features.extractor import FeatureExtractor
from cloob.evaluate.protocols.image_text import evaluate_image_text
from cloob.evaluate.protocols.zeroshot import evaluate_zeroshot
from cloob.evaluate.retrieval_sets.load import open_retrieval_set
from cloob.evaluate.testsets.image_folder import LabeledFolder
from cloob.evaluate.testsets.prepare import prepare
from cloob.evaluate.testsets.spec import TestSetSpec, load_spec
from cloob.evaluate.testsets.spec_changes import changed_spec
from cloob.models.export import export_open_clip
from cloob.models.load import load_model
from cloob.toy_data.captions import write_caption
from cloob.toy_data.render import encode
from cloob.toy_data.scene import random_scene

VERSION = "1.6.2"
SAMPLES_PER_TAR = 100
METRICS = {"accuracy": "acc1", "accuracy_top5": "acc5", "mean_per_class_accuracy": "mean_per_class_recall"}
RECALLS = {"image_to_text": "text_retrieval", "text_to_image": "image_retrieval"}


def install(folder: Path) -> Path:
    """Create an environment with clip-benchmark and this environment's packages; returns its Python."""
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    command = [python, "-m", "pip", "install", "--quiet", "--no-deps", f"clip-benchmark=={VERSION}"]
    subprocess.run(command, check=True)
    (site_packages,) = folder.glob("lib/python*/site-packages")
    inherited = [path for path in sys.path if path.endswith("site-packages")]
    (site_packages / "inherited.pth").write_text("".join(f"{path}\n" for path in inherited))
    return python


def write_split(folder: Path, samples: Iterable[dict[str, bytes]]) -> None:
    """Write samples, {suffix: content} each, as the tars of a split."""
    folder.mkdir(parents=True)
    tars = 0
    for index, sample in enumerate(samples):
        if index % SAMPLES_PER_TAR == 0:
            tars += 1
        with tarfile.open(folder / f"{tars - 1}.tar", "a") as tar:
            for suffix, content in sample.items():
                member = tarfile.TarInfo(f"s{index:07d}.{suffix}")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    (folder / "nshards.txt").write_text(f"{tars}\n")


def as_webdataset(spec: TestSetSpec, source: Path, root: Path) -> Path:
    """Write a test set in the webdataset layout, and a spec for it; returns the path of the spec."""
    images, rng = LabeledFolder(spec, source), random.Random(0)
    # Classes of different sizes, so that the mean over classes is not the accuracy.
    kept = [sample for sample in images.samples if rng.random() < 0.6]
    names, prompts = images.class_names, spec.prompt_templates()

    def samples() -> Iterable[dict[str, bytes]]:
        for path, label in kept:
            content = Path(path).read_bytes()
            with Image.open(io.BytesIO(content)) as image:
                if image.format != "JPEG":  # the layout has JPEG, PNG and WebP
                    converted = io.BytesIO()
                    image.save(converted, "PNG")
                    content = converted.getvalue()
                suffix = "jpg" if image.format == "JPEG" else "png"
            yield {"cls": str(label).encode(), suffix: content}

    write_split(root / "test", samples())
    (root / "classnames.txt").write_text("".join(f"{name}\n" for name in names), encoding="utf-8")
    templates = "".join(f"{prompt.replace('{}', '{c}')}\n" for prompt in prompts)
    (root / "zeroshot_classification_templates.txt").write_text(templates, encoding="utf-8")
    content = {"name": spec.name, "title": spec.title, "test": "test", "labels": "folder_number"}
    content |= {"classes": names, "prompts": prompts, "metric": spec.metric}
    path = root.with_suffix(".yaml")
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


def write_retrieval_set(root: Path, num_images: int) -> Path:
    """Write images with five or six captions in both formats; returns the JSON of Karpathy's form."""
    rng = random.Random(0)
    seen: set[str] = set()
    entries, samples = [], []
    folder = root.with_name("images")
    folder.mkdir()
    while len(entries) < num_images:
        scene = random_scene(rng)
        captions = list(dict.fromkeys(write_caption(scene, rng).text for _ in range(50)))
        captions = [caption for caption in captions if caption not in seen][: 5 + (len(entries) % 7 == 0)]
        if len(captions) < 5:
            continue
        seen |= set(captions)
        name, content = f"{len(entries):06d}.jpg", encode(scene, "photo")
        (folder / name).write_bytes(content)
        sentences = [{"raw": caption} for caption in captions]
        entries.append({"split": "test", "filename": name, "sentences": sentences})
        samples.append({"jpg": content, "txt": "\n".join(captions).encode()})
    write_split(root / "test", samples)
    (root / "dataset_type.txt").write_text("retrieval\n")
    write_json(root.with_name("karpathy.json"), {"dataset": "toy", "images": entries})
    return root.with_name("karpathy.json")


def ours(
    model: Path, work: Path, specs: list[Path], retrieval: dict[str, tuple[Path, Path | None]]
) -> dict[str, dict[str, Any]]:
    """The metrics of every set, by the functions of the commands."""
    extractor = FeatureExtractor(model, work / "cache", device="cpu")
    testsets = []
    for path in specs:
        spec, out = load_spec(path), work / "prepared" / path.stem
        prepare(spec, "webdataset", work, out, path.with_suffix(""), their_prompts=True)
        testsets.append((changed_spec(spec, out), out))
    evaluate_zeroshot(extractor, testsets, work / "zeroshot")
    sets = [
        (name, name, open_retrieval_set(path, work / "cache", images))
        for name, (path, images) in retrieval.items()
    ]
    evaluate_image_text(extractor, sets, work / "retrieval", work / "structure")
    files = [*(work / "zeroshot").glob("*.json"), *(work / "retrieval").glob("*.json")]
    return {path.stem: read_json(path) for path in sorted(files)}


def compare(result: dict[str, Any], theirs: dict[str, float]) -> tuple[list[str], list[str], bool]:
    """The metrics of a set as text, ours and theirs, and whether they are equal."""
    pairs = []
    if "image_to_text_r1" in result["metrics"]:
        for direction, name in RECALLS.items():
            for k in (1, 5, 10):
                value = result["metrics"][f"{direction}_r{k}"]
                # Theirs is a mean in float32.
                pairs.append((float(np.float32(value)), theirs[f"{name}_recall@{k}"]))
    else:
        pairs = [(result["metrics"][name], theirs[other]) for name, other in METRICS.items()]
    return [repr(a) for a, _ in pairs], [repr(b) for _, b in pairs], all(a == b for a, b in pairs)


def main() -> None:
    """Print a table of all numbers; exit with status 1 if one differs."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--checkpoint", type=Path, help="checkpoint of `cloob train` (default: random weights)"
    )
    parser.add_argument("--per-class", type=int, default=5, help="test images per class")
    parser.add_argument("--pairs", type=int, default=200, help="images of the retrieval set")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        checkpoint = options.checkpoint or save_random_checkpoint(
            "config/architectures/RN_small.json", work / "random.pt"
        )
        model = load_model(checkpoint)
        export_open_clip(model, model.config, work / "model")
        (work / "toy").mkdir()
        specs = [
            as_webdataset(spec, source, work / "wds" / spec.name)
            for spec, source in generate_testsets(work / "toy", options.per_class)
        ]
        karpathy = write_retrieval_set(work / "wds" / "captions", options.pairs)
        python = install(work / "env")
        sets = [str(path.with_suffix("")) for path in specs] + [str(work / "wds" / "captions")]
        runner = Path(__file__).with_name("clip_benchmark_run.py")
        command = [python, runner, work / "model", work / "theirs.json", *sets]
        subprocess.run(command, check=True)
        theirs = json.loads((work / "theirs.json").read_text())
        retrieval = {
            "captions": (work / "wds" / "captions", None),
            "captions_karpathy": (karpathy, karpathy.with_name("images")),
        }
        results = ours(work / "model", work, specs, retrieval)
        print(f"\n{checkpoint}, torch {torch.__version__}, clip-benchmark {VERSION}\n")
        print("| set | images | ours | clip-benchmark | equal |\n|---|---|---|---|---|")
        all_equal = True
        for name, result in results.items():
            a, b, equal = compare(result, theirs[name.removesuffix("_karpathy")])
            all_equal &= equal
            print(f"| {name} | {result['images']} | {' '.join(a)} | {' '.join(b)} | {equal} |")
    sys.exit(not all_equal)


if __name__ == "__main__":
    main()
