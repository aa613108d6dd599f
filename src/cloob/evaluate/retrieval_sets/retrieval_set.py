"""The interface of a retrieval set, and its form for packed shards."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from cloob.common.errors import InputError
from cloob.shards.reader import Shards


class RetrievalSet(Protocol):
    """M images and N captions: caption i (0-based) describes the image `image_of_text[i]`."""

    path: Path
    sha256: str  # of the images and captions, in order
    num_images: int
    image_of_text: list[int]  # (N,)

    def image(self, index: int) -> tuple[bytes, str]:
        """The bytes of an image, and its name for error messages. Raises `InputError`."""

    def caption(self, index: int) -> str:
        """A caption. Raises `InputError`."""

    def check_unchanged(self) -> None:
        """Raise `InputError` if images were changed after `sha256` was determined."""


class ShardsRetrievalSet:
    """Packed shards: samples whose images have the same bytes are captions of one image."""

    def __init__(self, shards: Shards) -> None:
        self.path, self.sha256 = shards.path, shards.manifest["sha256"]
        first: dict[int, int] = {}  # digest of an image -> its index
        self._shards = shards
        self._samples: list[int] = []  # the first sample with each image
        self.image_of_text: list[int] = []
        for sample, digest in enumerate(shards.image_digests.tolist()):
            if digest not in first:
                first[digest] = len(self._samples)
                self._samples.append(sample)
            self.image_of_text.append(first[digest])
        self.num_images = len(self._samples)
        if not self._samples:
            raise InputError(f"{shards.path}: contains no captioned images")

    def image(self, index: int) -> tuple[bytes, str]:
        """See `RetrievalSet`."""
        sample = self._samples[index]
        content, _ = self._shards.sample(sample)
        return content, f"image {self._shards.key(sample)} of {self.path}"

    def caption(self, index: int) -> str:
        """See `RetrievalSet`."""
        return self._shards.caption(index)

    def check_unchanged(self) -> None:
        """See `RetrievalSet`; every image that is read is compared with the index of its shard."""


class Captions:
    """Collects the captions of consecutive images; blank ones are left out and counted."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.image_of_text: list[int] = []
        self.num_images = 0
        self._num_blank = 0

    def add(self, captions: Sequence[str], image: str) -> None:
        """Add the captions of the next image. Raises `InputError`, naming `image`, if there are none."""
        texts = [caption for caption in captions if caption.strip()]
        if not texts:
            raise InputError(f"{image} has no caption; add one, or remove the image from the set")
        self._num_blank += len(captions) - len(texts)
        self.texts += texts
        self.image_of_text += [self.num_images] * len(texts)
        self.num_images += 1

    def report(self, path: Path) -> None:
        """Print the number of blank captions, if there are any."""
        if self._num_blank:
            print(f"{path}: {self._num_blank:,} blank captions are ignored", flush=True)
