"""The files of the toy dataset that other parts of the pipeline read, relative to its folder."""

from cloob.toy_data.vocabulary import load_vocabulary

# The URL lists: Conceptual Captions' two TSVs, by split; YFCC100M's metadata and OpenAI's subset of it.
CC3M_LISTS = {
    "train": "cc3m/Train_GCC-training.tsv",
    "validation": "cc3m/Validation_GCC-1.1.0-Validation.tsv",
}
YFCC15M_METADATA = "yfcc15m/yfcc100m_dataset.bz2"
YFCC15M_SUBSET = "yfcc15m/yfcc100m_subset_data.tsv.bz2"
# The images behind the URLs.
SERVED = "www"


def generated_files() -> list[str]:
    """The URL lists and the specs of the test sets."""
    specs = [f"testsets/{name}.yaml" for name in load_vocabulary("testsets")]
    return [*CC3M_LISTS.values(), YFCC15M_METADATA, YFCC15M_SUBSET, *specs]


def generated_folders() -> list[str]:
    """The test sets, and the images behind the URLs."""
    return [*(f"testsets/{name}" for name in load_vocabulary("testsets")), SERVED]
