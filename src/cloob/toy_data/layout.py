"""The files of the toy dataset that other parts of the pipeline read, relative to its folder."""

from cloob.toy_data.vocabulary import load_vocabulary

SERVER_ADDRESS = "127.0.0.1"
# How corpora are written: as URL lists, or as webdataset tars of the valid pairs (Conceptual Captions only).
FORMATS = ("url_lists", "webdataset")
# The URL lists: Conceptual Captions' two TSVs, by split; YFCC100M's metadata and OpenAI's subset of it.
CC3M_LISTS = {
    "train": "cc3m/Train_GCC-training.tsv",
    "validation": "cc3m/Validation_GCC-1.1.0-Validation.tsv",
}
YFCC15M_METADATA = "yfcc15m/yfcc100m_dataset.bz2"
YFCC15M_SUBSET = "yfcc15m/yfcc100m_subset_data.tsv.bz2"
# The images behind the URLs.
SERVED = "www"
CC3M_TARS = {"train": "cc3m/train", "validation": "cc3m/validation"}


def generated_files(form: str) -> list[str]:
    """The URL lists and the specs of the test sets."""
    specs = [f"testsets/{name}.yaml" for name in load_vocabulary("testsets")]
    lists = [*CC3M_LISTS.values(), YFCC15M_METADATA, YFCC15M_SUBSET]
    return (lists if form == "url_lists" else []) + specs


def generated_folders(form: str) -> list[str]:
    """The test sets, and the images behind the URLs or the tars."""
    testsets = [f"testsets/{name}" for name in load_vocabulary("testsets")]
    return [*testsets, *([SERVED] if form == "url_lists" else CC3M_TARS.values())]


def located_splits(folder: str, port: int, form: str) -> dict[tuple[str, str], dict[str, str]]:
    """(corpus, split) -> the keys of the config that locate it in `folder` and on the image server."""
    if form == "webdataset":
        return {("cc3m", split): {"shards": f"{folder}/{path}"} for split, path in CC3M_TARS.items()}
    cc3m = {("cc3m", split): {"list": f"{folder}/{path}"} for split, path in CC3M_LISTS.items()}
    yfcc15m = {
        "metadata": f"{folder}/{YFCC15M_METADATA}",
        "subset": f"{folder}/{YFCC15M_SUBSET}",
        "image_base_url": f"http://{SERVER_ADDRESS}:{port}/data/images",
    }
    return cc3m | {("yfcc15m", "train"): yfcc15m}


def located_testsets(folder: str) -> dict[str, dict[str, str]]:
    """Test set -> the keys of the config that locate it in `folder`."""
    return {
        name: {"spec": f"{folder}/testsets/{name}.yaml", "folder": f"{folder}/testsets/{name}"}
        for name in load_vocabulary("testsets")
    }
