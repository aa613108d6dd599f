"""Data-loading throughput, compared with open_clip and with the floor of decoding only.

Alternates between this package's loader and open_clip's training pipeline (webdataset, PIL, its transform and
tokenizer) on the same tars with the same number of worker processes. The floor is decoding the same images.
Images have 500 × 375 pixels and are cropped to 224.
"""

import argparse
import hashlib
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
from cloob.models.tokenizer import tokenizer_for
from cloob.shards.reader import Shards
from cloob.shards.writer import Sample, write_shard
from cloob.train.augmentation import RandomResizedCrop
from cloob.train.data import PairDataset, training_loader
from cloob.train.order import SampledMicroBatch

CONFIG = model_config("RN50-quickgelu")
BATCH_SIZE, CROP_SCALE = 32, (0.9, 1.0)


def photo(generator: np.random.Generator) -> bytes:
    """A JPEG of about 70 KB with the frequencies of a photo: smooth regions, edges, grain."""
    coarse = generator.integers(0, 256, (12, 16, 3), dtype=np.uint8)
    smooth = Image.fromarray(coarse).resize((500, 375), Image.Resampling.BICUBIC)
    grain = generator.normal(0, 24, (375, 500, 3))
    noisy = Image.fromarray(np.clip(np.asarray(smooth) + grain, 0, 255).astype(np.uint8))
    buffer = io.BytesIO()
    noisy.filter(ImageFilter.GaussianBlur(0.7)).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def make_shards(folder: Path, pairs: int) -> tuple[Path, float]:
    """Write four shards; return their manifest and the mean image size in KB."""
    generator = np.random.default_rng(0)
    samples = []
    for i in range(pairs):
        image, caption = photo(generator), f"a photo of {i} things on a table"
        samples.append(Sample(f"{i:06d}", image, caption, hashlib.sha256(image).hexdigest(), 500, 375))
    entries = [
        write_shard(folder / f"{n:06d}.tar", samples[n * pairs // 4 :][: pairs // 4]) for n in range(4)
    ]
    manifest = folder / "shards.json"
    write_json(manifest, {"samples": pairs, "bytes": 0, "sha256": "", "shards": entries})
    return manifest, statistics.mean(len(sample.image) for sample in samples) / 1000


def load_with_cloob(manifest: Path, workers: int) -> Iterator:
    """Batches of this package's loader, in the order of the shards."""
    shards = Shards(manifest)
    pairs = PairDataset(shards, RandomResizedCrop(224, CROP_SCALE, 0), tokenizer_for(CONFIG))
    batches = [
        SampledMicroBatch([(0, [i]) for i in range(start, start + BATCH_SIZE)], [])
        for start in range(0, len(shards) - BATCH_SIZE + 1, BATCH_SIZE)
    ]
    return iter(training_loader(pairs, batches, workers))


def load_with_open_clip(manifest: Path, workers: int) -> Iterator:
    """Batches of open_clip's pipeline: decoding with PIL, its training transform, its tokenizer.

    The loader of open_clip 3.3 itself is not compatible with this version of webdataset.
    """
    transform = open_clip.image_transform(224, is_train=True, aug_cfg={"scale": CROP_SCALE})
    tokenizer = open_clip.get_tokenizer("RN50-quickgelu")
    dataset = (
        wds.WebDataset([str(tar) for tar in Shards(manifest).tars], shardshuffle=False, empty_check=False)
        .decode("pilrgb")
        .rename(image="jpg;png;jpeg;webp", text="txt")
        .map_dict(image=transform, text=lambda text: tokenizer(text)[0])
        .to_tuple("image", "text")
        .batched(BATCH_SIZE, partial=False)
    )
    return iter(wds.WebLoader(dataset, batch_size=None, num_workers=workers))


def decode_only(manifest: Path, workers: int) -> Iterator:
    """The floor, in this process: decode the images."""
    shards = Shards(manifest)
    for start in range(0, len(shards) - BATCH_SIZE + 1, BATCH_SIZE):
        for i in range(start, start + BATCH_SIZE):
            content = torch.frombuffer(bytearray(shards.sample(i)[0]), dtype=torch.uint8)
            decode_jpeg(content, mode=ImageReadMode.RGB)
        yield (range(BATCH_SIZE),)


def samples_per_second(load: Callable, manifest: Path, workers: int) -> float:
    """Throughput after the first batch, which includes the start of the workers."""
    batches = load(manifest, workers)
    next(batches)
    start, num_samples = time.perf_counter(), 0
    for batch in batches:
        num_samples += len(batch[0])
    return num_samples / (time.perf_counter() - start)


def main() -> None:
    """Print a Markdown table of the throughputs."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pairs", type=int, default=640, help="pairs in the shards")
    parser.add_argument("--repeats", type=int, default=5, help="repetitions; the median is reported")
    parser.add_argument("--workers", type=int, nargs="*", default=[0, 2], help="numbers of loader workers")
    options = parser.parse_args()
    torch.set_num_threads(1)  # as in a loader worker
    with tempfile.TemporaryDirectory() as folder:
        manifest, size = make_shards(Path(folder), options.pairs)
        print(f"{options.pairs} images of {size:.0f} KB, torch {torch.__version__}\n")
        print("| loader processes | variant | samples/s | × open_clip's |\n|---|---|---|---|")
        for workers in options.workers:
            loaders = {"ours": load_with_cloob, "open_clip's pipeline": load_with_open_clip}
            if workers == 0:
                loaders["floor: decoding only"] = decode_only
            speeds = {name: [] for name in loaders}
            for _ in range(options.repeats):
                for name, load in loaders.items():
                    speeds[name].append(samples_per_second(load, manifest, workers))
            open_clip_speed = statistics.median(speeds["open_clip's pipeline"])
            for name, measured in speeds.items():
                speed = statistics.median(measured)
                print(f"| {workers} | {name} | {speed:.0f} | {speed / open_clip_speed:.2f} |")


if __name__ == "__main__":
    main()
