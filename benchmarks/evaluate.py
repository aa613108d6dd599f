"""How fast are all eight test sets of the small world classified zero-shot?

Ours against the plain way: each class's prompts through the text encoder by themselves and padded to the full
context, images decoded and prepared by Pillow as open_clip does, and embedded anew for every protocol. Both
give the same accuracies, or this ends with an error. The encoders have random weights (time does not depend
on them). In turns; seconds are of one thread's processor time, which others on the machine change little.
`--protocols` says how many protocols want the features of the test images: zero-shot alone 1, with the linear
probe 2, with the sample predictions 3.
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

Sets = list[tuple[TestSetSpec, Path]]
BATCH = 128


def draw(root: Path, per_class: int) -> Sets:
    """The eight sets with so many test images per class."""
    sets = []
    for name in list_testsets():
        made = make_testset(1, name, 0, per_class)
        folder = root / name
        for each in made.folders:
            (folder / each).mkdir(parents=True, exist_ok=True)
        for image in made.images:
            write_image(image, folder)
        if made.classes_file:
            (folder / "classes.txt").write_text(made.classes_file, encoding="utf-8")
        (root / f"{name}.yaml").write_text(yaml.safe_dump(made.spec), encoding="utf-8")
        sets.append((load_spec(root / f"{name}.yaml"), folder))
    return sets


def checkpoint_of(architecture: str, path: Path) -> Path:
    """Random weights in the layout of the train stage."""
    torch.manual_seed(0)
    config = model_config(architecture)
    weights = build_model(config).state_dict()
    run = {"name": "random", "corpus": "cc3m", "objective": "cloob", "recipe": "none", "seed": 0}
    torch.save({"run": run, "epoch": 0, "model_config": config, "state_dict": weights}, path)
    return path


def ours(checkpoint: Path, sets: Sets, protocols: int) -> list[float]:
    """The command's functions, every feature computed anew; the accuracies."""
    with tempfile.TemporaryDirectory() as folder:
        extractor = FeatureExtractor(checkpoint, Path(folder) / "features", BATCH)
        evaluate_zeroshot(extractor, sets, Path(folder) / "zeroshot")
        for _ in range(protocols - 1):
            for description, root in sets:
                extractor.image_features(LabeledFolder(description, root))
        files = [Path(folder) / "zeroshot" / f"{description.name}.json" for description, _ in sets]
        results = [read_json(file) for file in files]
        return [result["metrics"]["accuracy"] for result in results]


@torch.inference_mode()
def plain(checkpoint: Path, sets: Sets, protocols: int) -> list[float]:
    """What a script does that has one set and one protocol in mind; the accuracies."""
    model = load_model(checkpoint)
    config = model.config
    transform = open_clip.image_transform(config["vision_cfg"]["image_size"], is_train=False)
    tokenizer = open_clip.SimpleTokenizer(context_length=config["text_cfg"]["context_length"])
    accuracies = []
    for description, root in sets:
        weights = open_clip.build_zero_shot_classifier(
            model,
            tokenizer,
            LabeledFolder(description, root).class_names,
            description.prompt_templates(),
            num_classes_per_batch=1,
        )
        folder = LabeledFolder(description, root)
        images = ImageFolder(folder.root, transform, allow_empty=True, loader=_pillow)
        images.samples = folder.samples  # the labels of the description
        for _ in range(protocols):
            right = 0
            for pixels, labels in DataLoader(images, BATCH):
                logits = model.encode_image(pixels, normalize=True) @ weights
                right += int((logits.argmax(dim=1) == labels).sum())
        accuracies.append(right / len(folder))
    return accuracies


def _pillow(path: str) -> Image.Image:
    with Image.open(path) as image:
        return image.convert("RGB")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--architecture", default="config/architectures/RN_small.json", help="name or JSON of open_clip"
    )
    parser.add_argument("--per-class", type=int, default=20, help="test images of a class; the demo has 20")
    parser.add_argument(
        "--protocols",
        type=int,
        nargs="*",
        default=[1, 2, 3],
        help="so many want the features",
    )
    parser.add_argument("--repeats", type=int, default=5, help="turns, of which the median counts")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        sets = draw(Path(folder), options.per_class)
        checkpoint = checkpoint_of(options.architecture, Path(folder) / "random.pt")
        images = sum(len(LabeledFolder(*each)) for each in sets)
        print(f"{images} images of {len(sets)} sets, {options.architecture}, torch {torch.__version__}\n")
        print("| protocols | way | images/s | × the plain way |\n|---|---|---|---|")
        for protocols in options.protocols:
            seconds: dict[Callable, list[float]] = {ours: [], plain: []}
            for _ in range(options.repeats):
                accuracies = {}
                for way, found in seconds.items():
                    begun = time.process_time()
                    accuracies[way] = way(checkpoint, sets, protocols)
                    found.append(time.process_time() - begun)
                worst = max(abs(a - b) for a, b in zip(*accuracies.values(), strict=True))
                assert worst < 0.002, f"accuracies differ by {worst}: not the same work"
            peer = statistics.median(seconds[plain])
            for way, found in seconds.items():
                took = statistics.median(found)
                speed = images * protocols / took
                print(f"| {protocols} | {way.__name__} | {speed:.0f} | {peer / took:.2f} |", flush=True)


if __name__ == "__main__":
    main()
