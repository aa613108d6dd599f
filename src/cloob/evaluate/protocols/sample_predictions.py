"""Images of a test set with their best classes, as the authors' notebook shows them; the report draws them.

The file `predictions/<dataset>.json` has the keys of every result file, and `samples`, a list of
    label         number of the right class
    class         its name
    image         path of the image, relative to the test folder
    image_jpeg    the image, its longer side at most 224 pixels: a JPEG in base64
    top           the five best classes, best first: [{class, probability}, …]
so that drawing them needs no test set.
"""

import base64
import io
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cloob.evaluate.testsets.image_folder import LabeledFolder, load_image

SAMPLES, BEST, PIXELS, SEED = 8, 5, 224, 0


def predictions(folder: LabeledFolder, logits: Tensor, inv_temperature: float) -> dict[str, Any]:
    """Up to 8 images, drawn by a fixed seed (the same for every checkpoint), with their best classes.

    `logits` (N, classes) are the cosines; a probability is the softmax of them times `inv_temperature`,
    over all classes. Of equal ones the first class comes first. Raises `InputError`.
    """
    drawn = np.random.default_rng(SEED).choice(len(folder), min(SAMPLES, len(folder)), replace=False)
    samples = []
    for index in sorted(drawn.tolist()):
        probabilities = torch.softmax(logits[index].double() * inv_temperature, dim=0)
        best = torch.argsort(logits[index], descending=True, stable=True)[:BEST].tolist()
        path, label = folder.samples[index]
        samples.append(
            {
                "label": label,
                "class": folder.class_names[label],
                "image": folder.names[index],
                "image_jpeg": _thumbnail(path),
                "top": [
                    {"class": folder.class_names[each], "probability": probabilities[each].item()}
                    for each in best
                ],
            }
        )
    return {"samples": samples}


def _thumbnail(path: str) -> str:
    image = load_image(path)
    image.thumbnail((PIXELS, PIXELS))
    content = io.BytesIO()
    image.save(content, "JPEG", quality=85)
    return base64.b64encode(content.getvalue()).decode("ascii")
