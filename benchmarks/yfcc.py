"""How fast is OpenAI's subset joined with YFCC100M's metadata, and how near to the floor?

Synthesises metadata of 25 columns and joins it, each way in a process of its own, in turns: ours; pandas in
chunks, with the same captions; and the floors: reading the lines, and unpacking the .bz2 and nothing else.
"""

import argparse
import bz2
import random
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from hashlib import md5
from pathlib import Path
from urllib.parse import quote_plus

SHARE = 0.148  # of the metadata that the subset lists
WORDS = [
    "the",
    "a",
    "of",
    "sunset",
    "beach",
    "dog",
    "family",
    "trip",
    "2009",
    "IMG",
    "café",
    "day",
    "<b>wedding</b>",
    "&",
]


def synthesise(folder: Path, rows: int) -> None:
    """meta.tsv, meta.tsv.bz2 and subset.tsv: some 650 bytes a row, as the true ones."""
    draw = random.Random(0)

    def words(least: int, most: int) -> str:
        return quote_plus(" ".join(draw.choices(WORDS, k=draw.randint(least, most))))

    with (folder / "meta.tsv").open("w") as metadata, (folder / "subset.tsv").open("w") as subset:
        for line in range(rows):
            photo, owner = 1_000_000 + 7 * line, f"{draw.randrange(10**8)}%40N00"
            digest = md5(str(photo).encode()).hexdigest()
            page = f"http://www.flickr.example/photos/{owner}/{photo}/"
            text = [words(1, 6), words(0, 60), words(0, 12), ""]
            place = [f"{draw.uniform(-180, 180):.6f}", f"{draw.uniform(-90, 90):.6f}", "16"]
            link = f"http://farm3.staticflickr.example/2/{photo}_{digest[:10]}.jpg"
            ends = ["Attribution License", "http://creativecommons.example/licenses/by/2.0/", "2", "3"]
            marks = [digest[:10], digest[:10], "jpg", str(int(draw.random() < 0.008))]
            columns = [
                str(line),
                str(photo),
                digest,
                owner,
                words(1, 2),
                "2009-05-01 12:00:00.0",
                "1241179200",
            ]
            print(*columns, "Canon+EOS", *text, *place, page, link, *ends, *marks, sep="\t", file=metadata)
            if draw.random() < SHARE:
                print(line, photo, digest, sep="\t", file=subset)
    with (folder / "meta.tsv").open("rb") as plain, bz2.open(folder / "meta.tsv.bz2", "wb") as packed:
        shutil.copyfileobj(plain, packed, 1 << 24)


def ours(folder: Path, metadata: str) -> int:
    """The package's join; links written."""
    from cloob.download.yfcc import join_yfcc

    out = folder / "links.parquet", folder / "fates.csv"
    address = "http://bucket.example"
    return join_yfcc([folder / metadata], folder / "subset.tsv", "title_description", address, *out)["kept"]


def without_lbzip2(folder: Path, metadata: str) -> int:
    """The package's join where lbzip2 is not installed."""
    shutil.which = lambda name: None
    return ours(folder, metadata)


def with_pandas(folder: Path, metadata: str) -> int:
    """What one writes with pandas."""
    import pandas as pd

    from cloob.download.captions import plain_text

    names = ["line", "id", "hash"]
    subset = pd.read_csv(folder / "subset.tsv", sep="\t", header=None, names=names, dtype=str)
    kept = 0
    chunks = pd.read_csv(
        folder / metadata,
        sep="\t",
        header=None,
        dtype=str,
        quoting=3,
        usecols=[0, 1, 2, 8, 9, 24],
        names=range(25),
        chunksize=200_000,
        keep_default_na=False,
    )
    for number, chunk in enumerate(chunks):
        both = chunk.merge(subset, left_on=[0, 1, 2], right_on=names)
        both = both[both[24] != "1"]
        captions = [
            f"{plain_text(title.encode())} {plain_text(description.encode())}".strip()
            for title, description in zip(both[8], both[9], strict=True)
        ]
        digest = both["hash"]
        both = pd.DataFrame({"caption": captions, "photo_id": both["id"].to_numpy()})
        both["url"] = [f"http://bucket.example/{one[:3]}/{one[3:6]}/{one}.jpg" for one in digest]
        both = both[both.caption != ""]
        both.to_parquet(folder / f"pandas_{number}.parquet")
        kept += len(both)
    return kept


def reading(folder: Path, metadata: str) -> int:
    """The floor of plain text: all lines, and nothing done with them."""
    with (folder / metadata).open("rb") as file:
        return sum(1 for _ in file)


def unpacking(folder: Path, metadata: str) -> int:
    """The floor of .bz2: unpacked by all cores into nothing."""
    tool = ["lbzip2"] if shutil.which("lbzip2") else ["bzip2"]
    subprocess.run([*tool, "-dc", folder / metadata], stdout=subprocess.DEVNULL, check=True)
    return 0


WAYS = {
    "ours": (ours, "meta.tsv"),
    "pandas in chunks": (with_pandas, "meta.tsv"),
    "floor: reading the lines": (reading, "meta.tsv"),
    "ours, .bz2": (ours, "meta.tsv.bz2"),
    "ours, .bz2, without lbzip2": (without_lbzip2, "meta.tsv.bz2"),
    "floor: unpacking": (unpacking, "meta.tsv.bz2"),
}


def measured(way: str, folder: Path) -> tuple[float, float, int]:
    """Seconds, peak MB and links of one way, in a process of its own."""
    command = [sys.executable, __file__, "--way", way, "--folder", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    seconds, memory, links = done.stdout.split()
    return float(seconds), float(memory), int(links)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=500_000, help="of the metadata (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=3, help="rounds (default: %(default)s)")
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.way:
        function, metadata = WAYS[options.way]

        begun = time.perf_counter()
        links = function(options.folder, metadata)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
        print(time.perf_counter() - begun, peak, links)
        return
    seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    memory: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        synthesise(folder, options.rows)
        size = (folder / "meta.tsv").stat().st_size
        links = set()
        for _ in range(options.repeats):
            for way in WAYS:
                took, peak, kept = measured(way, folder)
                seconds[way].append(took)
                memory[way] = max(memory[way], round(peak))
                if not way.startswith("floor"):
                    links.add(kept)
    assert len(links) == 1, f"the ways do not agree: {links} links"
    medians = {way: statistics.median(times) for way, times in seconds.items()}
    print(f"{options.rows:,} rows of {size / options.rows:.0f} bytes, {links.pop():,} links\n")
    print("| what | rows/s | × pandas | peak MB |\n|---|---|---|---|")
    for way, median in medians.items():
        ratio = medians["pandas in chunks"] / median
        print(f"| {way} | {options.rows / median:,.0f} | {ratio:.2f} | {memory[way]:,} |")


if __name__ == "__main__":
    main()
