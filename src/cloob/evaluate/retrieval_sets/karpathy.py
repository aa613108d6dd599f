"""Retrieval sets with the splits of Karpathy and Fei-Fei (2015): `dataset_flickr30k.json` and the like.

The file has a list `images`. Each entry has `split`, `filename`, `filepath` (COCO only: the image's folder),
and `sentences`, a list of captions with the text in `raw`.
"""

import os
from pathlib import Path, PurePosixPath
from typing import Any

from cloob.common.errors import InputError
from cloob.common.hashing import json_sha256
from cloob.evaluate.retrieval_sets.retrieval_set import Captions
from cloob.evaluate.testsets.content_hash import check_unchanged, content_hash
from cloob.images.files import read_image_file


class KarpathyRetrievalSet:
    """The images of one split in the order of the file, each with all its captions.

    `content` is the parsed JSON at `path`, `folder` contains the images, `cache` is for their hashes. Raises
    `InputError` if the split has no images, or an image has no file, no caption or an unsafe name.
    """

    def __init__(self, path: Path, content: dict[str, Any], folder: Path, split: str, cache: Path) -> None:
        self.path = path
        captions = Captions()
        names: dict[str, int] = {}  # in order, with the numbers of their entries
        for number, entry in enumerate(content["images"]):
            image = f"{path}: image {number}"
            if not isinstance(entry, dict) or not isinstance(entry.get("split"), str):
                raise InputError(f"{image} has no `split`; give the JSON of Karpathy's splits")
            if entry["split"] != split:
                continue
            name = _file_name(entry, image)
            image = f"{image} ({name})"
            if name in names:
                raise InputError(f"{image} is also image {names[name]}; remove one of them")
            names[name] = number
            captions.add(_captions(entry, image), image)
        if not names:
            splits = sorted({entry["split"][:40] for entry in content["images"]})[:10]
            existing = ", ".join(splits) or "none"
            raise InputError(f"{path}: no images of the split {split!r}; it has: {existing}")
        self._files = [os.fspath(folder / name) for name in names]
        for name, number in names.items():
            if not (folder / name).is_file():
                raise InputError(
                    f"{folder / name}: missing, but {path} lists it as image {number}; give the folder with "
                    "all images"
                )
        captions.report(path)
        self._captions, self.image_of_text = captions.texts, captions.image_of_text
        self.num_images = captions.num_images
        self._names, self._cache = list(names), cache
        self._images_sha256 = content_hash(self._files, self._names, cache).sha256
        self.sha256 = json_sha256([self._images_sha256, self._captions, self.image_of_text])

    def image(self, index: int) -> tuple[bytes, str]:
        """See `RetrievalSet`."""
        path = self._files[index]
        return read_image_file(path), path

    def caption(self, index: int) -> str:
        """See `RetrievalSet`."""
        return self._captions[index]

    def check_unchanged(self) -> None:
        """See `RetrievalSet`."""
        check_unchanged(self._files, self._names, self._cache, self._images_sha256)


def _file_name(entry: dict[str, Any], image: str) -> str:
    parts = [entry.get("filepath", ""), entry.get("filename")]
    if not all(isinstance(part, str) for part in parts) or not parts[1]:
        raise InputError(f"{image} has no `filename`; give the JSON of Karpathy's splits")
    name = PurePosixPath(*parts)
    if name.is_absolute() or ".." in name.parts or "\0" in str(name):
        raise InputError(f"{image} has the unsafe file name {str(name)[:80]!r}; correct it")
    return str(name)


def _captions(entry: dict[str, Any], image: str) -> list[str]:
    sentences = entry.get("sentences")
    if not isinstance(sentences, list):
        sentences = []
    texts = []
    for number, sentence in enumerate(sentences):
        text = sentence.get("raw") if isinstance(sentence, dict) else None
        if not isinstance(text, str):
            raise InputError(f"{image}: sentence {number} has no text `raw`; add it, or remove the sentence")
        texts.append(text)
    return texts
