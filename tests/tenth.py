"""The demo's config with a tenth of its world, for the tests that run the pipeline."""

from typing import Any

import yaml

LABEL = "a tenth of the small world"


def tenth_of(demo: dict[str, Any], results: str, port: int) -> dict[str, Any]:
    """The demo's config with a tenth of its world, under another folder and port."""
    text = (
        yaml.safe_dump(demo).replace(demo["results"], results).replace(str(demo["world"]["port"]), str(port))
    )
    config = yaml.safe_load(text)
    for key in ("cc_train", "cc_validation", "yfcc", "testset_test_per_class"):
        config["world"][key] = demo["world"][key] // 10
    config["world"]["testset_train_per_class"] = 2  # one to train on, one to validate with
    config["evaluate"]["linear_probe"]["l2_strengths"] = 3
    for recipe in config["recipes"].values():
        recipe |= {
            "epochs": 2,
            "report_epochs": [2],
            "structure_epochs": [2],
            "batch": 32,
            "micro_batch": 16,
            "warmup_steps": 2,
        }
    config["download"]["rounds"] = 1
    cc, yfcc = demo["runs"]
    config["runs"] = [cc | {"seeds": [1]}, yfcc | {"objectives": ["infoloob_hopfield"]}]
    return config | {"label": LABEL}
