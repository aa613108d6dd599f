"""From img2dataset's tars to the shards that training reads: every image decoded once, in full."""

from collections import Counter, deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from itertools import chain, islice
from multiprocessing import get_context
from pathlib import Path

from tqdm import tqdm

from cloob.download.fates import KEPT, read_fates, write_fates
from cloob.download.folder import links_of
from cloob.errors import InputError
from cloob.files import write_json
from cloob.shards.content import ContentHash
from cloob.shards.source import Fetched, fetched
from cloob.shards.statistics import Statistics
from cloob.shards.verdict import Verdict, verdicts
from cloob.shards.writer import Sample, write_shard

MANIFEST = "shards.json"
_BATCH = 128


def pack(
    images: Path, fates_before: Path, out: Path, fates: Path, samples_per_shard: int, processes: int
) -> Counter[str]:
    """Verify img2dataset's images and write them as shards with an index, in the order of the list.

    The manifest `shards.json` comes last. Returns the images by fate: kept, not_jpeg,
    truncated_image, undecodable. The same images give the same bytes.
    """
    coming = read_fates(fates_before).get(KEPT, 0)
    out.mkdir(parents=True, exist_ok=True)
    _clear(out)
    found: Counter[str] = Counter()
    statistics, content = Statistics(), ContentHash()

    def verified() -> Iterator[Sample]:
        for image, judged in tqdm(
            _judged(fetched(images), processes), total=coming, unit=" images", desc=str(out), mininterval=1
        ):
            found[judged.refused or KEPT] += 1
            if judged.refused:
                continue
            content.add(image.uid, judged.sha256, image.caption)
            statistics.add(image.caption, judged.width, judged.height)
            yield Sample(
                image.uid, image.content(), image.caption, judged.sha256, judged.width, judged.height
            )

    samples = verified()
    shards = []
    for first in samples:
        tar = out / f"{len(shards):06d}.tar"
        shards.append(write_shard(tar, chain([first], islice(samples, samples_per_shard - 1))))
    if not shards:
        raise InputError(f"{images}: holds no image to pack; {fates_before} says why each link was refused")
    write_fates(fates, found, coming)
    manifest = {
        "samples": found[KEPT],
        "bytes": sum(shard["bytes"] for shard in shards),
        "sha256": content.hexdigest(),
        "links_sha256": links_of(images),
        "shards": shards,
        "statistics": statistics.summary(),
    }
    write_json(out / MANIFEST, manifest)
    return found


def _clear(out: Path) -> None:
    """Remove what an earlier run left: the manifest first, without it nothing counts."""
    (out / MANIFEST).unlink(missing_ok=True)
    for suffix in ("tar", "parquet"):
        for leftover in chain(out.glob(f"[0-9]*.{suffix}"), out.glob(f".[0-9]*.{suffix}")):
            leftover.unlink()


def _judged(images: Iterable[Fetched], processes: int) -> Iterator[tuple[Fetched, Verdict]]:
    """Each image with its verdict, in order; decoded by several processes, never far ahead."""
    images = iter(images)
    if processes == 1:
        while batch := list(islice(images, _BATCH)):
            yield from zip(batch, verdicts([image.place for image in batch]), strict=True)
        return
    waiting: deque[tuple[list[Fetched], Future[list[Verdict]]]] = deque()
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        while True:
            while len(waiting) < 2 * processes and (batch := list(islice(images, _BATCH))):
                waiting.append((batch, pool.submit(verdicts, [image.place for image in batch])))
            if not waiting:
                return
            batch, answer = waiting.popleft()
            yield from zip(batch, answer.result(), strict=True)
