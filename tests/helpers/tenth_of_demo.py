"""The demo's config with a tenth of its world, for the tests that run the pipeline."""

from typing import Any

LABEL = "a tenth of the small world"


def tenth_of(demo: dict[str, Any], results: str, port: int) -> dict[str, Any]:
    """The demo's config with a tenth of its world, under another folder and port."""
    config = _replaced(demo, {demo["results"]: results, str(demo["world"]["port"]): str(port)})
    config["world"]["port"] = port
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


def _replaced(value: Any, texts: dict[str, str]) -> Any:
    """A copy in which each text is replaced by another, wherever it stands in a value."""
    if isinstance(value, dict):
        return {key: _replaced(each, texts) for key, each in value.items()}
    if isinstance(value, list):
        return [_replaced(each, texts) for each in value]
    if isinstance(value, str):
        for old, new in texts.items():
            value = value.replace(old, new)
    return value
