"""Image-text retrieval and embedding structure on captioned images: two result files per retrieval set."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from cloob.evaluate.features.extractor import FeatureExtractor
from cloob.evaluate.protocols.result import evaluation_metadata, is_up_to_date, write_result
from cloob.metrics.embeddings import embedding_structure
from cloob.metrics.retrieval import retrieval_metrics
from cloob.shards.reader import Shards


def evaluate_image_text(
    extractor: FeatureExtractor,
    retrieval_sets: Sequence[tuple[str, str, Path]],
    retrieval_dir: Path,
    structure_dir: Path,
) -> None:
    """Evaluate the retrieval sets, each given as (name, title, path of shards.json).

    Writes `retrieval_dir`/<name>.json and `structure_dir`/<name>.json. Captions of byte-identical images are
    captions of one image. Result files that are up to date are not recomputed. Raises `InputError`.
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
    for name, title, manifest in retrieval_sets:
        shards = Shards(manifest)
        dataset = {
            "dataset": name,
            "title": title,
            "images": len(np.unique(shards.image_digests)),
            "texts": len(shards),
            "dataset_sha256": shards.manifest["sha256"],
        }
        for protocol, (folder, measure) in protocols.items():
            path = folder / f"{name}.json"
            metadata = evaluation_metadata(extractor, protocol) | dataset
            if is_up_to_date(path, metadata):
                continue
            pairs = extractor.pair_features(shards, name, title).to(extractor.device)
            write_result(path, metadata, measure(pairs))
