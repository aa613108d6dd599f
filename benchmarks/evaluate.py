"""Zero-shot throughput on the eight test sets of the toy dataset: this pipeline against a plain script.

The plain script encodes the prompts of each class separately, padded to the full context, decodes and
preprocesses images with Pillow as open_clip does, and embeds them again for every protocol. Both must give
the same accuracies. The models have random weights, which do not affect the time. The two variants alternate;
times are CPU times of one thread, which other processes on the machine hardly affect. `--protocols` is the
number of protocols that use the features of the test images: 1 is zero-shot alone, 2 adds the linear probe,
3 the sample predictions.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import open_clip
import torch
import yaml
from PIL import Image
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder

from cloob.common.json_files import read_json
from cloob.evaluate.features.extractor import FeatureExtractor
from cloob.evaluate.protocols.zeroshot import evaluate_zeroshot
from cloob.evaluate.testsets.image_folder import LabeledFolder
from cloob.evaluate.testsets.spec import TestSetSpec, load_spec
from cloob.models.clip import build_model
from cloob.models.config import model_config
from cloob.models.load import load_model
from cloob.toy_data.render import write_image
from cloob.toy_data.testsets import list_testsets, make_testset

TestSets = list[tuple[TestSetSpec, Path]]
BATCH_SIZE = 128


def generate_testsets(root: Path, images_per_class: int) -> TestSets:
    """Write the eight test sets of the toy dataset: spec and folder of each."""
    testsets = []
    for name in list_testsets():
        testset = make_testset(1, name, 0, images_per_class)
        folder = root / name
        for class_folder in testset.folders:
            (folder / class_folder).mkdir(parents=True, exist_ok=True)
        for image in testset.images:
            write_image(image, folder)
        if testset.classes_file:
            (folder / "classes.txt").write_text(testset.classes_file, encoding="utf-8")
        (root / f"{name}.yaml").write_text(yaml.safe_dump(testset.spec), encoding="utf-8")
        testsets.append((load_spec(root / f"{name}.yaml"), folder))
    return testsets


def save_random_checkpoint(architecture: str, path: Path) -> Path:
    """Write a checkpoint with random weights in the layout of the train stage."""
    torch.manual_seed(0)
    config = model_config(architecture)
    weights = build_model(config).state_dict()
    run = {"name": "random", "corpus": "cc3m", "objective": "cloob", "recipe": "none", "seed": 0}
    torch.save({"run": run, "epoch": 0, "model_config": config, "state_dict": weights}, path)
    return path


def ours(checkpoint: Path, testsets: TestSets, protocols: int) -> list[float]:
    """Evaluate with the functions of the command and an empty cache; returns the accuracies."""
    with tempfile.TemporaryDirectory() as folder:
        extractor = FeatureExtractor(checkpoint, Path(folder) / "features", BATCH_SIZE)
        evaluate_zeroshot(extractor, testsets, Path(folder) / "zeroshot")
        for _ in range(protocols - 1):
            for spec, root in testsets:
                extractor.image_features(LabeledFolder(spec, root))
        results = [read_json(Path(folder) / "zeroshot" / f"{spec.name}.json") for spec, _ in testsets]
        return [result["metrics"]["accuracy"] for result in results]


@torch.inference_mode()
def plain(checkpoint: Path, testsets: TestSets, protocols: int) -> list[float]:
    """Evaluate like a script for a single test set and protocol; returns the accuracies."""
    model = load_model(checkpoint)
    config = model.config
    transform = open_clip.image_transform(config["vision_cfg"]["image_size"], is_train=False)
    tokenizer = open_clip.SimpleTokenizer(context_length=config["text_cfg"]["context_length"])
    accuracies = []
    for spec, root in testsets:
        folder = LabeledFolder(spec, root)
        weights = open_clip.build_zero_shot_classifier(
            model,
            tokenizer,
            folder.class_names,
            spec.prompt_templates(),
            num_classes_per_batch=1,
        )
        images = ImageFolder(folder.root, transform, allow_empty=True, loader=_load_with_pillow)
        images.samples = folder.samples  # the labels of the spec
        for _ in range(protocols):
            correct = 0
            for pixels, labels in DataLoader(images, BATCH_SIZE):
                logits = model.encode_image(pixels, normalize=True) @ weights
                correct += int((logits.argmax(dim=1) == labels).sum())
        accuracies.append(correct / len(folder))
    return accuracies


def _load_with_pillow(path: str) -> Image.Image:
    with Image.open(path) as image:
        return image.convert("RGB")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--architecture",
        default="config/architectures/RN_small.json",
        help="open_clip model or JSON configuration",
    )
    parser.add_argument("--per-class", type=int, default=20, help="test images per class; the demo has 20")
    parser.add_argument(
        "--protocols",
        type=int,
        nargs="*",
        default=[1, 2, 3],
        help="numbers of protocols that use the features",
    )
    parser.add_argument("--repeats", type=int, default=5, help="runs; the table has their medians")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        testsets = generate_testsets(Path(folder), options.per_class)
        checkpoint = save_random_checkpoint(options.architecture, Path(folder) / "random.pt")
        images = sum(len(LabeledFolder(spec, root)) for spec, root in testsets)
        print(f"{images} images of {len(testsets)} sets, {options.architecture}, torch {torch.__version__}\n")
        print("| protocols | variant | images/s | × plain |\n|---|---|---|---|")
        for protocols in options.protocols:
            seconds: dict[Callable, list[float]] = {ours: [], plain: []}
            for _ in range(options.repeats):
                accuracies = {}
                for variant, times in seconds.items():
                    start = time.process_time()
                    accuracies[variant] = variant(checkpoint, testsets, protocols)
                    times.append(time.process_time() - start)
                difference = max(abs(a - b) for a, b in zip(*accuracies.values(), strict=True))
                assert difference < 0.002, f"accuracies differ by {difference}: not the same work"
            baseline = statistics.median(seconds[plain])
            for variant, times in seconds.items():
                median = statistics.median(times)
                speed = images * protocols / median
                print(
                    f"| {protocols} | {variant.__name__} | {speed:.0f} | {baseline / median:.2f} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
