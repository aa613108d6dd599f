"""Retrieval sets in CLIP_benchmark's webdataset layout: an image and a .txt with a caption per line."""

from pathlib import Path

from cloob.common.errors import InputError
from cloob.evaluate.retrieval_sets.retrieval_set import Captions
from cloob.evaluate.testsets.content_hash import check_unchanged, content_hash
from cloob.evaluate.webdataset.folder import Sample, dataset_type, read_samples, tars_of_split

_MAX_CAPTION_BYTES = 1_000_000_000  # of all captions together


class WebdatasetRetrievalSet:
    """The images of one split of a webdataset folder, in order; they are read from the tars when needed.

    `cache` is the folder for the hashes of the tars. Raises `InputError` if the folder is not such a set, or
    an image has no caption.
    """

    def __init__(self, path: Path, split: str, cache: Path) -> None:
        self.path = path
        if (kind := dataset_type(path)) != "retrieval":
            raise InputError(
                f"{path}: a {kind[:40]} set by its dataset_type.txt (or without one), not a retrieval set; "
                "write `retrieval` into that file if the tars have captions (.txt)"
            )
        tars = tars_of_split(path, split)
        self._tars = [str(tar) for tar in tars], [f"{split}/{tar.name}" for tar in tars], cache
        self.sha256 = content_hash(*self._tars).sha256  # before the offsets of the images are read
        captions, total = Captions(), 0
        self._images: list[Sample] = []
        for sample in read_samples(tars, "txt"):
            total += len(sample.annotation)
            if total > _MAX_CAPTION_BYTES:
                raise InputError(f"{path}: rejected, more than {_MAX_CAPTION_BYTES:,} bytes of captions")
            try:
                text = sample.annotation.decode("utf-8")
            except UnicodeDecodeError:
                raise InputError(f"{sample}: its .txt is not UTF-8; convert it") from None
            captions.add(text.splitlines(), str(sample))
            self._images.append(sample.without_annotation())
        captions.report(path)
        self._captions, self.image_of_text = captions.texts, captions.image_of_text
        self.num_images = captions.num_images

    def image(self, index: int) -> tuple[bytes, str]:
        """See `RetrievalSet`."""
        sample = self._images[index]
        return sample.image(), str(sample)

    def caption(self, index: int) -> str:
        """See `RetrievalSet`."""
        return self._captions[index]

    def check_unchanged(self) -> None:
        """See `RetrievalSet`."""
        check_unchanged(*self._tars, self.sha256)
