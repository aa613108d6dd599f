"""The embeddings of the images of a folder, cached on disk: an image is embedded once per model."""

import hashlib
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.utils.data import BatchSampler, SequentialSampler
from tqdm import tqdm

from cloob.common.atomic_files import atomic_write
from cloob.common.data_loading import BatchLoader, kill_workers_on_exit
from cloob.common.directories import sorted_glob
from cloob.common.errors import InputError, raise_if_io_error, user_message
from cloob.common.hashing import json_sha256
from cloob.evaluate.features.extractor import embedding_key, model_sha256
from cloob.images.files import find_images, read_image
from cloob.models.interface import ImageTextModel, check_unit_length

# Images per forward pass, and per file of the cache: an interrupted run loses at most this much.
BATCH_SIZE, IMAGES_PER_PART = 32, 512
Entry = tuple[str, int, int]  # path relative to the folder, bytes, time of the last change in ns


@dataclass(frozen=True)
class ImageIndex:
    """The readable images of a folder, and the reason for each of the others."""

    paths: list[str]  # relative to the folder
    embeddings: Tensor  # (images, d), float32, L2-normalized
    unreadable: dict[str, str]


def index_images(model: ImageTextModel, folder: Path, cache: Path, workers: int) -> ImageIndex:
    """Embed the images of a folder that `cache` does not contain yet, with a progress bar.

    The cache is keyed by weights, image transform, folder, and path, size and time of change of every
    image. An interrupted run resumes. Unreadable images are left out. Raises `InputError` if no image
    is readable.
    """
    entries, unreadable = _entries(folder)
    key = embedding_key(model, model_sha256(model))
    store = cache / json_sha256(key)[:16] / hashlib.sha256(os.fsencode(folder.resolve())).hexdigest()[:16]
    known = _read_parts(store, set(entries))
    missing = [entry for entry in entries if entry not in known]
    if missing:
        _embed(model, folder, missing, workers, store, known, unreadable)
    readable = [entry for entry in entries if entry in known]
    if not readable:
        raise InputError(next(iter(unreadable.values())))
    return ImageIndex(
        [name for name, _, _ in readable], torch.stack([known[entry] for entry in readable]), unreadable
    )


def _entries(folder: Path) -> tuple[list[Entry], dict[str, str]]:
    """The images of a folder, and the reason for each broken link, or file deleted in the meantime."""
    entries, unreadable = list[Entry](), dict[str, str]()
    for path in find_images(folder):
        try:
            status = (folder / path).stat()
        except OSError as error:
            unreadable[str(path)] = _reason(error)
        else:
            entries.append((str(path), status.st_size, status.st_mtime_ns))
    return entries, unreadable


def _reason(error: Exception) -> str:
    return user_message(error) or str(error)


class _Images:
    """A map-style dataset: the preprocessed pixels of an image, or why it is not readable."""

    def __init__(self, model: ImageTextModel, folder: Path, entries: Sequence[Entry]) -> None:
        self.preprocess, self.folder, self.entries = model.preprocess, folder, entries

    def __getitem__(self, index: int) -> Tensor | str:
        try:
            return self.preprocess(read_image(self.folder / self.entries[index][0]))
        except (InputError, OSError) as error:
            return _reason(error)


@kill_workers_on_exit()
@torch.inference_mode()
def _embed(
    model: ImageTextModel,
    folder: Path,
    entries: Sequence[Entry],
    workers: int,
    store: Path,
    known: dict[Entry, Tensor],
    unreadable: dict[str, str],
) -> None:
    """Embed images into `known` and, part by part, into files of `store`."""
    batches = BatchSampler(SequentialSampler(entries), BATCH_SIZE, drop_last=False)
    loader = BatchLoader(_Images(model, folder, entries), list, batches, min(workers, len(entries)))
    position, part = 0, dict[Entry, Tensor]()
    with tqdm(total=len(entries), desc=f"embedding {folder}", unit="image", mininterval=1) as progress:
        for items in loader:
            batch = entries[position : position + len(items)]
            position += len(items)
            pixels = [item for item in items if isinstance(item, Tensor)]
            if pixels:
                vectors = model.encode_image(torch.stack(pixels).to(model.device), normalize=True)
                embeddings = iter(check_unit_length(vectors).float().cpu())
            for entry, item in zip(batch, items, strict=True):
                if isinstance(item, str):
                    unreadable[entry[0]] = item
                else:
                    part[entry] = next(embeddings)
            if len(part) >= IMAGES_PER_PART:
                known |= _write_part(store, part)
                part = {}
            progress.update(len(items))
    if part:
        known |= _write_part(store, part)


def _write_part(store: Path, part: dict[Entry, Tensor]) -> dict[Entry, Tensor]:
    """Write embeddings to a file of their own, which is named by its images; returns them."""
    embeddings = torch.stack(list(part.values()))
    images = json.dumps(list(part))
    with atomic_write(store / f"{json_sha256(images)[:16]}.safetensors") as temporary:
        save_file({"embeddings": embeddings}, temporary, {"images": images})
    return part


def _read_parts(store: Path, entries: set[Entry]) -> dict[Entry, Tensor]:
    """The cached embeddings of these images; damaged files are deleted with a warning."""
    known: dict[Entry, Tensor] = {}
    for path in sorted_glob(store, "*.safetensors"):
        try:
            with safe_open(path, framework="pt") as file:
                images = json.loads((file.metadata() or {})["images"])
                embeddings = file.get_tensor("embeddings")
            part = {(str(n), int(b), int(t)): row for (n, b, t), row in zip(images, embeddings, strict=True)}
        except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
            raise_if_io_error(error, path)
            print(f"warning: {path} is damaged and computed again", file=sys.stderr)
            path.unlink(missing_ok=True)
            continue
        known |= {entry: row for entry, row in part.items() if entry in entries}
    return known
