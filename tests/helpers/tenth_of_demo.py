"""The demo's config with a tenth of its toy dataset, for the tests that run the whole pipeline."""

import copy
import socket
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


def free_port() -> int:
    """A port for the server of the toy dataset."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def with_search(config: dict[str, Any]) -> dict[str, Any]:
    """The recipes of the runs on cc3m are chosen among two settings per objective, one of which diverges."""
    grid = {
        "clip": {"learning_rate": [5e-4, 1e-3]},
        "cloob": {"learning_rate": [5e-4, 1e30]},
    }
    search = {"corpus": "cc3m", "architecture": "RN_small", "recipe": "one_epoch", "seed": 0, "grid": grid}
    one_epoch = config["recipes"]["cc3m_small"] | {
        "epochs": 1,
        "eval_epochs": [1],
        "embedding_eval_epochs": [],
    }
    config["recipes"]["one_epoch"] = one_epoch
    config["runs"][0]["search"] = "tiny"
    return config | {"search": {"tiny": search}}
