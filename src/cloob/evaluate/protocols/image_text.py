"""Image-text retrieval and embedding structure on captioned images: two result files per retrieval set."""

from collections.abc import Sequence
from pathlib import Path

from cloob.common.errors import InputError
from cloob.evaluate.features.extractor import FeatureExtractor
from cloob.evaluate.protocols.result import evaluation_metadata, is_up_to_date, write_result
from cloob.evaluate.retrieval_sets.retrieval_set import RetrievalSet
from cloob.metrics.embeddings import embedding_structure
from cloob.metrics.retrieval import retrieval_metrics


def evaluate_image_text(
    extractor: FeatureExtractor,
    retrieval_sets: Sequence[tuple[str, str, RetrievalSet]],
    retrieval_dir: Path,
    structure_dir: Path,
) -> None:
    """Evaluate the retrieval sets, each given as (name, title, images and captions).

    Writes `retrieval_dir`/<name>.json and `structure_dir`/<name>.json. An image with several captions is
    retrieved if any of them is. Result files that are up to date are not recomputed. Raises `InputError`,
    before the first set is evaluated if a set has one image only.
    """
    for name, _, retrieval_set in retrieval_sets:
        if retrieval_set.num_images < 2:
            raise InputError(
                f"{retrieval_set.path}: {name} has one image, but retrieval and the structure of embeddings "
                "need at least 2; add images, or remove it"
            )
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
    for name, title, retrieval_set in retrieval_sets:
        dataset = {
            "dataset": name,
            "title": title,
            "images": retrieval_set.num_images,
            "texts": len(retrieval_set.image_of_text),
            "dataset_sha256": retrieval_set.sha256,
        }
        for protocol, (folder, measure) in protocols.items():
            path = folder / f"{name}.json"
            metadata = evaluation_metadata(extractor, protocol) | dataset
            if is_up_to_date(path, metadata):
                continue
            pairs = extractor.pair_features(retrieval_set, name, title).to(extractor.device)
            write_result(path, metadata, measure(pairs))
