"""The JSON Schema of the `toy_data` settings of the config, the flags of `cloob toy-data generate`."""

from typing import Any

from cloob.toy_data.layout import FORMATS

_POSITIVE = {"type": "integer", "minimum": 1}

TOY_DATA_SCHEMA: dict[str, Any] = {
    "properties": {
        "seed": {"type": "integer", "minimum": 0, "description": "seed of the whole dataset"},
        "port": {
            "type": "integer",
            "minimum": 1024,
            "maximum": 65535,
            "description": "port of the local image server",
        },
        "format": {
            "enum": list(FORMATS),
            "description": "URL lists and a server for the download, or webdataset tars (only cc3m)",
        },
        "cc3m_train": _POSITIVE | {"description": "rows of the training TSV"},
        "cc3m_validation": _POSITIVE | {"description": "rows of the validation TSV"},
        "yfcc15m": _POSITIVE | {"description": "rows of the subset list"},
        "testset_train_per_class": {
            "type": "integer",
            "minimum": 0,
            "description": "training images per class of a test set",
        },
        "testset_test_per_class": _POSITIVE | {"description": "test images per class of a test set"},
    }
}
TOY_DATA_SCHEMA["required"] = [name for name in TOY_DATA_SCHEMA["properties"] if name != "format"]
