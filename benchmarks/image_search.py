"""`cloob search` in a folder of many images: first search, repeated search, and search after changes.

Writes JPEGs (320 × 240 pixels, 10 KB) in folders of 1,000, and runs the command in a process of its own:

- first: all images are embedded;
- repeated: all embeddings are in the cache;
- changed: 100 images were deleted, 100 changed, 100 added.

With --hostile, the folder also contains truncated JPEGs, pages named .jpg, an image of 400 million pixels
and one of 80 million, links that form cycles, a pipe, and files that are not images.

Without --model, the model is the demo's small ResNet with random weights. Prints a Markdown table: images
found, left out and decoded, wall time, CPU time of all processes, and peak memory of all processes together
(proportional set size, sampled).
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).parents[1]
_PER_FOLDER, _CHANGES = 1000, 100
_SIZE = (320, 240)


def main() -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--model", help="as for `cloob search`")
    parser.add_argument("--workers", type=int, default=2, help="processes that decode images")
    parser.add_argument("--hostile", action="store_true", help="also files that are not readable images")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "images"
        for number in range(options.images):
            _write_image(folder, number)
        if options.hostile:
            _write_hostile_files(folder)
        model = options.model or _untrained_model(Path(temporary) / "model")
        command = [sys.executable, "-m", "cloob", "search", str(folder), "a red circle", "--json"]
        command += [
            "--top=1000000",
            "--model",
            model,
            "--cache",
            f"{temporary}/cache",
            "--workers",
            str(options.workers),
        ]
        print("| search | images | left out | decoded | seconds | CPU s | peak MB |")
        print("|---|---|---|---|---|---|---|", flush=True)
        print(f"| first | {_measure(command)} |", flush=True)
        print(f"| repeated | {_measure(command)} |", flush=True)
        for number in range(min(_CHANGES, options.images // 2)):
            _image_path(folder, 2 * number).unlink()
            _write_image(folder, 2 * number + 1, seed=options.images + number)
            _write_image(folder, options.images + number)
        print(f"| changed | {_measure(command)} |", flush=True)


def _image_path(folder: Path, number: int) -> Path:
    return folder / f"{number // _PER_FOLDER:03d}" / f"{number:06d}.jpg"


def _write_image(folder: Path, number: int, seed: int | None = None) -> None:
    """A smooth pattern of random colors."""
    random = np.random.default_rng(number if seed is None else seed)
    colors = Image.fromarray(random.integers(256, size=(18, 24, 3), dtype=np.uint8))
    path = _image_path(folder, number)
    path.parent.mkdir(parents=True, exist_ok=True)
    colors.resize(_SIZE, Image.Resampling.BICUBIC).save(path, quality=85)


def _write_hostile_files(folder: Path) -> None:
    hostile = folder / "hostile"
    hostile.mkdir()
    whole = _image_path(folder, 0).read_bytes()
    for number in range(20):
        (hostile / f"truncated_{number}.jpg").write_bytes(whole[: len(whole) // 2])
        (hostile / f"page_{number}.jpg").write_bytes(b"<html>404 Not Found</html>")
        (hostile / f"notes_{number}.txt").write_text("not an image")
    (hostile / "empty.jpg").touch()
    Image.new("1", (20_000, 20_000)).save(hostile / "bomb.png")
    Image.new("RGB", (10_000, 8_000), "red").save(hostile / "large.jpg")
    (hostile / "cycle").symlink_to(folder)
    (hostile / "itself.jpg").symlink_to("itself.jpg")
    (hostile / "dangling.jpg").symlink_to("nowhere.jpg")
    os.mkfifo(hostile / "pipe.jpg")


def _untrained_model(folder: Path) -> str:
    from cloob.models.clip import build_model
    from cloob.models.export import export_open_clip

    config = json.loads((ROOT / "config" / "architectures" / "RN_small.json").read_text())
    export_open_clip(build_model(config), config, folder)
    return str(folder)


def _measure(command: list[str]) -> str:
    """Run a search: cells of the table after the first."""
    start = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        peak = [0]
        watcher = threading.Thread(target=_watch, args=(process.pid, peak), daemon=True)
        watcher.start()
        before = os.times()
        out, err = process.communicate()
    used = os.times()
    seconds = time.perf_counter() - start
    if process.returncode:
        sys.exit(err.decode(errors="replace"))
    result = json.loads(out)
    cpu = used.children_user + used.children_system - before.children_user - before.children_system
    # The last state of the progress bar: "embedding FOLDER: 100%|███| 10000/10000 […]".
    bars = [line for line in err.decode(errors="replace").replace("\r", "\n").splitlines() if "|" in line]
    decoded = int(bars[-1].split("|")[2].split("/")[0]) if bars else 0
    left_out = len(result["unreadable"])
    found = len(result["images"])
    return f"{found:,} | {left_out} | {decoded:,} | {seconds:.1f} | {cpu:.1f} | {peak[0] / 1e6:,.0f}"


def _watch(root: int, peak: list[int]) -> None:
    """Set `peak[0]` to the largest memory of a process and its descendants, in bytes, until it ends."""
    while (memory := sum(_memory(pid) for pid in _descendants(root))) or not peak[0]:
        peak[0] = max(peak[0], memory)
        time.sleep(0.2)


def _descendants(pid: int) -> Iterator[int]:
    yield pid
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            for child in children.read_text().split():
                yield from _descendants(int(child))
        except OSError:  # has ended
            continue


def _memory(pid: int) -> int:
    """The proportional set size in bytes; 0 of a process that has ended."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))


if __name__ == "__main__":
    main()
