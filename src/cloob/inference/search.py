"""`cloob search`: rank the images of a folder by their similarity to a text."""

import argparse
import os
import sys
from pathlib import Path

from cloob.common.arguments import non_negative_int, positive_int
from cloob.common.errors import InputError
from cloob.inference.options import add_model_options, load_chosen_model, print_json, print_table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="folder of images, with its subfolders")
    parser.add_argument("query", metavar="QUERY", help='text: "a dog on a beach"')
    parser.add_argument("--top", type=positive_int, default=10, metavar="N", help="images shown")
    parser.add_argument(
        "--cache",
        type=Path,
        metavar="DIR",
        help="folder for the embeddings of the images, which are computed once per model; default: "
        "~/.cache/cloob",
    )
    parser.add_argument(
        "--workers", type=non_negative_int, default=2, metavar="N", help="processes that decode images"
    )
    add_model_options(parser)
    parser.set_defaults(run=run)


def default_cache() -> Path:
    """`cloob` in the user's folder for caches."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cloob"


def run(options: argparse.Namespace) -> None:
    """Print the images of the folder that are most similar to the query."""
    if not options.query.strip():
        raise InputError('QUERY: empty; give a text such as "a dog on a beach"')
    from cloob.images.files import find_images

    find_images(options.folder)  # before the slow imports
    import torch

    from cloob.inference.image_index import index_images
    from cloob.models.interface import check_unit_length

    source, model = load_chosen_model(options)
    index = index_images(model, options.folder, options.cache or default_cache(), options.workers)
    if index.unreadable:
        first = next(iter(index.unreadable.values()))
        print(f"warning: {len(index.unreadable)} images left out; the first: {first}", file=sys.stderr)
    with torch.inference_mode():
        text = model.encode_text(model.tokenizer([options.query]).to(model.device), normalize=True)
        similarities = index.embeddings @ check_unit_length(text)[0].float().cpu()  # (images,), cosines
    order = torch.argsort(similarities, descending=True, stable=True)[: options.top].tolist()
    ranked = [(str(options.folder / index.paths[row]), float(similarities[row])) for row in order]
    if options.json:
        print_json(
            {
                "model": source,
                "query": options.query,
                "images": [{"image": image, "similarity": value} for image, value in ranked],
                "unreadable": index.unreadable,
            }
        )
        return
    print_table(["similarity", "image"], [[f"{value:.3f}", image] for image, value in ranked])
