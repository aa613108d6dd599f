"""How fast are pairs loaded, and how near to the floor?

Ours and open_clip's training pipeline (webdataset, PIL, its transform and tokenizer) on the same tars, with
the same number of loader processes, in turns; and the floor: decoding the same images and nothing else.
Images of 500 × 375, cropped to 224.
"""

import argparse
import io
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import open_clip
import torch
import webdataset as wds
from PIL import Image, ImageFilter
from torchvision.io import ImageReadMode, decode_jpeg

from cloob.common.json_files import write_json
from cloob.models.config import model_config
from cloob.models.preprocessing import tokenizer_for
from cloob.shards.reader import Shards
from cloob.shards.writer import Sample, write_shard
from cloob.train.augmentation import RandomResizedCrop
from cloob.train.data import Pairs, training_loader

CONFIG = model_config("RN50-quickgelu")
BATCH, CROP = 32, (0.9, 1.0)


def photo(generator: np.random.Generator) -> bytes:
    """A JPEG of some 70 KB with the frequencies of a photo: blotches, edges, grain."""
    coarse = generator.integers(0, 256, (12, 16, 3), dtype=np.uint8)
    smooth = Image.fromarray(coarse).resize((500, 375), Image.Resampling.BICUBIC)
    grain = generator.normal(0, 24, (375, 500, 3))
    noisy = Image.fromarray(np.clip(np.asarray(smooth) + grain, 0, 255).astype(np.uint8))
    buffer = io.BytesIO()
    noisy.filter(ImageFilter.GaussianBlur(0.7)).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def make_shards(folder: Path, pairs: int) -> tuple[Path, float]:
    """Four shards of so many pairs; their manifest, and the mean size of an image in KB."""
    generator = np.random.default_rng(0)
    samples = [
        Sample(f"{i:06d}", photo(generator), f"a photo of {i} things on a table", "0", 500, 375)
        for i in range(pairs)
    ]
    entries = [
        write_shard(folder / f"{n:06d}.tar", samples[n * pairs // 4 :][: pairs // 4]) for n in range(4)
    ]
    manifest = folder / "shards.json"
    write_json(manifest, {"samples": pairs, "bytes": 0, "sha256": "", "shards": entries})
    return manifest, statistics.mean(len(sample.image) for sample in samples) / 1000


def ours(manifest: Path, workers: int) -> Iterator:
    """The package's loader, in the order of the list."""
    shards = Shards(manifest)
    pairs = Pairs(shards, RandomResizedCrop(224, CROP, 0), tokenizer_for(CONFIG))
    batches = [[(0, [i]) for i in range(at, at + BATCH)] for at in range(0, len(shards) - BATCH + 1, BATCH)]
    return iter(training_loader(pairs, batches, workers))


def open_clips(manifest: Path, workers: int) -> Iterator:
    """open_clip's stages: decode by PIL, its training transform, its tokenizer (3.3's loader itself does not
    run with this webdataset).
    """
    transform = open_clip.image_transform(224, is_train=True, aug_cfg={"scale": CROP})
    tokenizer = open_clip.get_tokenizer("RN50-quickgelu")
    dataset = (
        wds.WebDataset([str(tar) for tar in Shards(manifest).tars], shardshuffle=False, empty_check=False)
        .decode("pilrgb")
        .rename(image="jpg;png;jpeg;webp", text="txt")
        .map_dict(image=transform, text=lambda text: tokenizer(text)[0])
        .to_tuple("image", "text")
        .batched(BATCH, partial=False)
    )
    return iter(wds.WebLoader(dataset, batch_size=None, num_workers=workers))


def decoding_only(manifest: Path, workers: int) -> Iterator:
    """The floor, in this process: our decoder and nothing else."""
    shards = Shards(manifest)
    for at in range(0, len(shards) - BATCH + 1, BATCH):
        for i in range(at, at + BATCH):
            content = torch.frombuffer(bytearray(shards.sample(i)[0]), dtype=torch.uint8)
            decode_jpeg(content, mode=ImageReadMode.RGB)
        yield (range(BATCH),)


def samples_per_second(load: Callable, manifest: Path, workers: int) -> float:
    """From the first batch on, which pays for the start of the processes."""
    batches = load(manifest, workers)
    next(batches)
    begun, number = time.perf_counter(), 0
    for batch in batches:
        number += len(batch[0])
    return number / (time.perf_counter() - begun)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pairs", type=int, default=640, help="pairs in the shards")
    parser.add_argument("--repeats", type=int, default=5, help="turns, of which the median counts")
    parser.add_argument("--workers", type=int, nargs="*", default=[0, 2], help="loader processes")
    options = parser.parse_args()
    torch.set_num_threads(1)  # as in a loader process
    with tempfile.TemporaryDirectory() as folder:
        manifest, size = make_shards(Path(folder), options.pairs)
        print(f"{options.pairs} images of {size:.0f} KB, torch {torch.__version__}\n")
        print("| loader processes | what | samples/s | × open_clip's |\n|---|---|---|---|")
        for workers in options.workers:
            ways = {"ours": ours, "open_clip's pipeline": open_clips}
            if workers == 0:
                ways["floor: decoding only"] = decoding_only
            speeds = {name: [] for name in ways}
            for _ in range(options.repeats):
                for name, load in ways.items():
                    speeds[name].append(samples_per_second(load, manifest, workers))
            peer = statistics.median(speeds["open_clip's pipeline"])
            for name, found in speeds.items():
                speed = statistics.median(found)
                print(f"| {workers} | {name} | {speed:.0f} | {speed / peer:.2f} |")


if __name__ == "__main__":
    main()
