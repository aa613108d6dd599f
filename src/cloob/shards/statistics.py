"""A corpus in a few numbers: how long its captions are, how large its images."""

from array import array

import numpy as np


class Statistics:
    """Collects words per caption, width and height; about 12 bytes a sample."""

    def __init__(self) -> None:
        self._words, self._width, self._height = array("i"), array("i"), array("i")

    def add(self, caption: str, width: int, height: int) -> None:
        """Count a sample."""
        self._words.append(len(caption.split()))
        self._width.append(width)
        self._height.append(height)

    def summary(self) -> dict[str, dict[str, float]]:
        """Minimum, median, mean and maximum of words, pixels, and width / height."""
        width, height = np.asarray(self._width), np.asarray(self._height)
        columns = {
            "caption_words": np.asarray(self._words),
            "width": width,
            "height": height,
            "aspect_ratio": width / height,
        }
        return {
            name: {
                "minimum": round(float(values.min()), 4),
                "median": round(float(np.median(values)), 4),
                "mean": round(float(values.mean()), 4),
                "maximum": round(float(values.max()), 4),
            }
            for name, values in columns.items()
        }
