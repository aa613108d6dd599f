"""Write folders in CLIP_benchmark's webdataset layout, as `clip_benchmark_export_wds` does."""

import io
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from tests.helpers.range_server import RangeServer, ServedFile
from tests.helpers.webdataset_tars import Member, write_tar

NAMES, TEMPLATES = "classnames.txt", "zeroshot_classification_templates.txt"


def image(level: int, form: str = "PNG") -> bytes:
    """A small image; equal integers give equal bytes."""
    content = io.BytesIO()
    Image.new("RGB", (40 + level, 36), (40 * level % 256, 90, 255 - level)).save(content, form)
    return content.getvalue()


def labeled(index: int, label: int | str) -> list[Member]:
    """The members of the sample with this index: an image and its label."""
    return [(f"s{index:07d}.cls", str(label).encode()), (f"s{index:07d}.png", image(index))]


def captioned(index: int, captions: Sequence[str]) -> list[Member]:
    """The members of the sample with this index: an image and its captions, one per line."""
    return [(f"s{index:07d}.jpg", image(index, "JPEG")), (f"s{index:07d}.txt", "\n".join(captions).encode())]


def write_split(folder: Path, tars: Sequence[list[Member]]) -> Path:
    """Write the tars of a split and their number; return the folder of the split."""
    for number, members in enumerate(tars):
        write_tar(folder / f"{number}.tar", members)
    (folder / "nshards.txt").write_text(f"{len(tars)}\n")
    return folder


def _two_per_tar(samples: Sequence[list[Member]]) -> list[list[Member]]:
    return [
        [member for sample in samples[start : start + 2] for member in sample]
        for start in range(0, len(samples), 2)
    ]


def write_classification(
    root: Path, names: Sequence[str], templates: Sequence[str], **splits: list[int]
) -> Path:
    """Write a test set whose splits have these labels, two samples per tar; return `root`."""
    for split, labels in splits.items():
        samples = [labeled(index, label) for index, label in enumerate(labels)]
        write_split(root / split, _two_per_tar(samples))
    root.mkdir(parents=True, exist_ok=True)
    (root / NAMES).write_text("".join(f"{name}\n" for name in names))
    (root / TEMPLATES).write_text("".join(f"{template}\n" for template in templates))
    return root


def write_retrieval(root: Path, captions: Sequence[Sequence[str]], split: str = "test") -> Path:
    """Write a retrieval set, one image per list of captions, two per tar; return `root`."""
    samples = [captioned(index, texts) for index, texts in enumerate(captions)]
    write_split(root / split, _two_per_tar(samples))
    (root / "dataset_type.txt").write_text("retrieval\n")
    return root


def serve(server: RangeServer, root: Path, path: str) -> None:
    """Serve all files of a folder below `path`."""
    for file in root.rglob("*"):
        if file.is_file():
            name = f"{path}/{file.relative_to(root).as_posix()}"
            server.files[name] = ServedFile(file.read_bytes())
