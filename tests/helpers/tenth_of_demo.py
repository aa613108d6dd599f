"""The demo's config with a tenth of its toy dataset, for the tests that run the whole pipeline."""

import copy
from typing import Any

TITLE_SUFFIX = "a tenth of the toy dataset"


def tenth_of(demo: dict[str, Any], results: str, port: int) -> dict[str, Any]:
    """The demo's config with a tenth of the images, two epochs, and another results folder and port."""
    config = copy.deepcopy(demo) | {"results": results}
    config["toy_data"]["port"] = port
    for key in ("cc3m_train", "cc3m_validation", "yfcc15m", "testset_test_per_class"):
        config["toy_data"][key] = demo["toy_data"][key] // 10
    config["toy_data"]["testset_train_per_class"] = 2  # one for training, one for validation
    config["evaluate"]["linear_probe"]["l2_num"] = 3
    for recipe in config["recipes"].values():
        recipe |= {
            "epochs": 2,
            "eval_epochs": [2],
            "embedding_eval_epochs": [2],
            "batch_size": 32,
            "micro_batch_size": 16,
            "warmup_steps": 2,
        }
    config["download"]["retry_rounds"] = 1
    cc3m, _, yfcc15m = demo["runs"]
    config["runs"] = [cc3m | {"seeds": [1]}, yfcc15m]
    return config | {"title_suffix": TITLE_SUFFIX}
