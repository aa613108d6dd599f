"""The middle frame of a video."""

import io
from concurrent.futures import as_completed
from pathlib import Path

import av
from PIL import Image
from tqdm import tqdm

from cloob.common.atomic_files import atomic_write
from cloob.common.errors import InputError, io_errors_at
from cloob.common.processes import process_pool


def middle_frame(video: Path) -> Image.Image:
    """Frame N // 2 (from 0) of a video's N frames, those that decode. Raises `InputError`.

    The frames are counted by decoding: what a container says of their number is often wrong.
    """
    with io_errors_at(video):
        content = video.read_bytes()  # so that FFmpeg's errors are of the content alone
    try:
        with av.open(io.BytesIO(content)) as container:
            count = sum(1 for _ in container.decode(video=0))
        with av.open(io.BytesIO(content)) as container:
            for number, frame in enumerate(container.decode(video=0)):
                if number == count // 2:
                    return frame.to_image()
    except (av.FFmpegError, IndexError, OSError, ValueError) as error:
        raise InputError(f"{video}: not a readable video ({error}); get it again") from None
    raise InputError(f"{video}: a video without frames; get it again")


def middle_frames(frames: dict[Path, Path], workers: int) -> None:
    """Write the middle frame of each video (key) to its path (value), in so many processes."""
    with process_pool(max(1, workers)) as pool:
        tasks = [pool.submit(_write, video, path) for video, path in frames.items()]
        for task in tqdm(as_completed(tasks), total=len(tasks), unit=" videos", desc="middle frames"):
            task.result()


def _write(video: Path, path: Path) -> None:
    image = middle_frame(video)
    with atomic_write(path) as beside:
        image.save(beside)
