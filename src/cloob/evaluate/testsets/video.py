"""Extraction of the middle frame of a video."""

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
    """Frame N // 2 (0-based) of the N decodable frames of a video. Raises `InputError`.

    The frames are counted by decoding them: the frame count in a container's header is often wrong.
    """
    with io_errors_at(video):
        content = video.read_bytes()  # so that errors of FFmpeg concern the content, not the file system
    try:
        with av.open(io.BytesIO(content), "r") as container:
            count = sum(1 for _ in container.decode(video=0))
        with av.open(io.BytesIO(content), "r") as container:
            for index, frame in enumerate(container.decode(video=0)):
                if index == count // 2:
                    return frame.to_image()
    except (av.FFmpegError, IndexError, OSError, ValueError) as error:
        raise InputError(f"{video}: not a readable video ({error}); download it again") from None
    raise InputError(f"{video}: a video without frames; download it again")


def extract_middle_frames(frames: dict[Path, Path], workers: int) -> None:
    """Write the middle frame of each video (key) to its path (value), with `workers` processes."""
    with process_pool(max(1, workers)) as pool:
        tasks = [pool.submit(_extract, video, path) for video, path in frames.items()]
        for task in tqdm(as_completed(tasks), total=len(tasks), unit=" videos", desc="middle frames"):
            task.result()


def _extract(video: Path, path: Path) -> None:
    image = middle_frame(video)
    with atomic_write(path) as temporary:
        image.save(temporary)
