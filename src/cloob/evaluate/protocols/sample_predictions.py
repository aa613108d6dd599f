"""Example images of a test set with their top-5 classes, for the figure of sample predictions.

The file `predictions/<dataset>.json` contains everything that the figure needs, so the test set itself is not
required. It has the common fields of every result file and `samples`, a list of
    label         index of the correct class
    class         name of the correct class
    image         path of the image, relative to the test folder
    image_jpeg    the image as a base64-encoded JPEG, its longer side at most 224 pixels
    top           the five most probable classes, in descending order: [{class, probability}, …]
"""

import base64
import io
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cloob.evaluate.testsets.image_folder import LabeledFolder, load_image

SAMPLES, TOP_K, PIXELS, SEED = 8, 5, 224, 0


def sample_predictions(folder: LabeledFolder, logits: Tensor, inv_temperature: float) -> dict[str, Any]:
    """Up to 8 images, sampled with a fixed seed (the same for every checkpoint), with their top-5 classes.

    `logits` (N, classes) are cosine similarities; probabilities are the softmax of `inv_temperature` · logits
    over all classes. Ties are resolved in favor of the lower class index. Raises `InputError`.
    """
    rng = np.random.default_rng(SEED)
    indices = rng.choice(len(folder), min(SAMPLES, len(folder)), replace=False)
    samples = []
    for index in sorted(indices.tolist()):
        probabilities = torch.softmax(logits[index].double() * inv_temperature, dim=0)
        top = torch.argsort(logits[index], descending=True, stable=True)[:TOP_K].tolist()
        path, label = folder.samples[index]
        samples.append(
            {
                "label": label,
                "class": folder.class_names[label],
                "image": folder.names[index],
                "image_jpeg": _thumbnail(path),
                "top": [
                    {"class": folder.class_names[top_label], "probability": probabilities[top_label].item()}
                    for top_label in top
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
