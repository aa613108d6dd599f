"""What is measured on captioned images: retrieval, and the structure of the embeddings."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from cloob.evaluate.features.extractor import FeatureExtractor
from cloob.evaluate.protocols.result import about_checkpoint, is_there, write_result
from cloob.metrics.embeddings import embedding_structure
from cloob.metrics.retrieval import retrieval_metrics
from cloob.shards.reader import Shards


def evaluate_image_text(
    extractor: FeatureExtractor,
    captioned: Sequence[tuple[str, str, Path]],
    retrieval_dir: Path,
    structure_dir: Path,
) -> None:
    """For each (name, title, shards.json) write `retrieval_dir`/<name>.json and `structure_dir`/<name>.json.

    Captions of images with equal bytes are captions of one image. A file that is there of the same checkpoint
    and data is left as it is. Raises `InputError`.
    """
    protocols = {
        "retrieval": (
            retrieval_dir,
            lambda pairs: {"metrics": retrieval_metrics(pairs.image, pairs.text, pairs.image_of_text)},
        ),
        "embedding_structure": (
            structure_dir,
            lambda pairs: embedding_structure(pairs.image, pairs.text, pairs.image_of_text),
        ),
    }
    for name, title, manifest in captioned:
        shards = Shards(manifest)
        images = len({shards.image_sha256(index) for index in range(len(shards))})
        of_pairs = {"dataset": name, "title": title, "images": images, "texts": len(shards)}
        of_pairs["dataset_sha256"] = shards.manifest["sha256"]
        for protocol, (folder, measure) in protocols.items():
            about = about_checkpoint(extractor, protocol) | of_pairs
            if is_there(folder / f"{name}.json", about):
                continue
            pairs = extractor.of_pairs(shards, name, title)
            where = extractor.device
            pairs = replace(
                pairs,
                image=pairs.image.to(where),
                text=pairs.text.to(where),
                image_of_text=pairs.image_of_text.to(where),
            )
            write_result(folder / f"{name}.json", about, measure(pairs))
