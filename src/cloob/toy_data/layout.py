"""The files of the toy dataset that other parts of the pipeline read, relative to its directory."""

from cloob.toy_data.vocabulary import listed

# Conceptual Captions' two TSVs; YFCC100M's metadata, and OpenAI's subset of it.
CONCEPTUAL_LISTS = {
    "train": "cc3m/Train_GCC-training.tsv",
    "validation": "cc3m/Validation_GCC-1.1.0-Validation.tsv",
}
YFCC_LISTS = ("yfcc15m/yfcc100m_dataset.bz2", "yfcc15m/yfcc100m_subset_data.tsv.bz2")
# The images behind the URLs.
SERVED = "www"


def generated_files() -> list[str]:
    """The URL lists and the specs of the test sets."""
    specs = [f"testsets/{name}.yaml" for name in listed("testsets")]
    return [*CONCEPTUAL_LISTS.values(), *YFCC_LISTS, *specs]


def generated_folders() -> list[str]:
    """The test sets and the images behind the URLs."""
    return [*(f"testsets/{name}" for name in listed("testsets")), SERVED]
