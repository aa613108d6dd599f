"""Open a retrieval set in any of its formats, and download one in the webdataset layout."""

from pathlib import Path

from cloob.common.errors import InputError
from cloob.common.json_files import read_json
from cloob.evaluate.retrieval_sets.karpathy import KarpathyRetrievalSet
from cloob.evaluate.retrieval_sets.retrieval_set import RetrievalSet, ShardsRetrievalSet
from cloob.evaluate.retrieval_sets.webdataset import WebdatasetRetrievalSet
from cloob.evaluate.webdataset.download import RemoteFolder, download_remedy, download_webdataset
from cloob.shards.reader import Shards

_MAX_JSON_BYTES = 1_000_000_000  # COCO's has 150 MB


def open_retrieval_set(
    path: Path, cache: Path, images: Path | None = None, split: str | None = None
) -> RetrievalSet:
    """A retrieval set: a webdataset folder, the JSON of Karpathy's splits, or a shards.json of packed shards.

    `images` is the folder of the images of Karpathy's JSON (default: the folder of the JSON), `split` a split
    of it or of the webdataset folder (default: test). `cache` is the folder for hashes of files. Raises
    `InputError`, also if `images` or `split` is given where it is not read.
    """
    if path.is_dir():
        if images:
            raise InputError(f"{path}: --images is not read with a webdataset folder; leave it out")
        return WebdatasetRetrievalSet(path, split or "test", cache)
    if path.is_file() and path.stat().st_size > _MAX_JSON_BYTES:
        raise InputError(f"{path}: more than {_MAX_JSON_BYTES:,} bytes; give the JSON of a retrieval set")
    content = read_json(path, "give the JSON of Karpathy's splits, or a shards.json")
    if isinstance(content, dict) and isinstance(content.get("images"), list):
        return KarpathyRetrievalSet(path, content, images or path.parent, split or "test", cache)
    shards = Shards(path)
    if images or split:
        option = "--images" if images else "--split"
        raise InputError(f"{path}: {option} is not read with shards; leave it out")
    return ShardsRetrievalSet(shards)


def download_retrieval_set(remote: RemoteFolder, split: str, partial: Path, out: Path) -> None:
    """Download one split of a retrieval set in the webdataset layout, validate it, and move it to `out`.

    `partial` is the folder for complete and partial files of an unfinished download. Raises `InputError`.
    """
    if out.is_dir() and any(out.iterdir()):
        raise InputError(f"{out}: exists already; delete it to download it again")
    download_webdataset(remote, [split], partial)
    with download_remedy():
        pairs = WebdatasetRetrievalSet(partial, split, partial.parent)
    out.parent.mkdir(parents=True, exist_ok=True)
    if out.is_dir():
        out.rmdir()
    partial.rename(out)
    print(f"{out}: {pairs.num_images:,} images with {len(pairs.image_of_text):,} captions")
