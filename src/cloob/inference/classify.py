"""`cloob classify`: zero-shot classification of images with labels that the user gives."""

import argparse
from pathlib import Path

from cloob.common.arguments import positive_int
from cloob.common.errors import InputError
from cloob.inference.options import add_model_options, load_chosen_model, print_json, print_table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument("images", type=Path, nargs="+", metavar="IMAGE", help="image files")
    parser.add_argument(
        "--labels", required=True, metavar="LABELS", help='labels, separated by commas: "a dog, a cat"'
    )
    parser.add_argument(
        "--template",
        action="append",
        metavar="TEXT",
        help="text that is embedded for a label, which replaces its {}, such as 'a photo of {}.'; several "
        "are averaged; default: the label itself",
    )
    parser.add_argument("--top", type=positive_int, default=5, metavar="N", help="labels shown per image")
    add_model_options(parser)
    parser.set_defaults(run=run)


def parse_labels(text: str) -> list[str]:
    """Split labels at commas. Raises `InputError` unless there are at least two, all different."""
    labels = [label.strip() for label in text.split(",")]
    if not all(labels):
        raise InputError(f'--labels {text!r:.80}: a label is empty; separate texts by commas: "a dog, a cat"')
    if len(labels) < 2:
        raise InputError(f'--labels {text!r:.80}: one label; give at least two: "a dog, a cat"')
    if duplicates := [label for label in labels if labels.count(label) > 1]:
        raise InputError(f"--labels: {duplicates[0]!r:.80} is given twice; give it once")
    return labels


def run(options: argparse.Namespace) -> None:
    """Print the most probable labels of each image."""
    labels = parse_labels(options.labels)
    for path in options.images:
        if not path.is_file():
            raise InputError(f"{path}: {'a folder' if path.is_dir() else 'no such file'}; give image files")
    source, model = load_chosen_model(options)
    results = model.classify(options.images, labels, options.template or ("{}",))
    ranked = [list(result.items())[: options.top] for result in results]
    images = list(zip(map(str, options.images), ranked, strict=True))
    if options.json:
        print_json(
            {
                "model": source,
                "images": [
                    {
                        "image": image,
                        "labels": [{"label": label, "probability": value} for label, value in top],
                    }
                    for image, top in images
                ],
            }
        )
        return
    rows = [
        [image if rank == 0 else "", label, f"{100 * value:.1f}%"]
        for image, top in images
        for rank, (label, value) in enumerate(top)
    ]
    print_table(["image", "label", "probability"], rows)
