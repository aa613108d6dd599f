"""Every form of images and captions on disk that a split can be packed from without a download.

The command line of `cloob shards pack` and the check of the configuration follow from these entries. A new
form also needs a `PackSource` in `cloob.shards.open_source`. Importing this module is cheap.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

DEFAULT_FILE_COLUMNS: dict[str, str | int] = {"file_column": "file", "caption_column": "caption"}


@dataclass(frozen=True)
class LocalSource:
    """A form of images and captions on disk.

    `key` is its key in a split of the configuration, whose value is a folder or, with `several`, a list of
    folders; `flag` is its flag in `cloob shards pack`. `options` maps further keys, which are flags, too, to
    JSON Schema fragments with a `description`; `inputs` names those that are paths.
    """

    key: str
    flag: str
    help: str
    several: bool = False
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    inputs: tuple[str, ...] = ()

    @property
    def schema(self) -> dict[str, Any]:
        """The JSON Schema of the key, but for the rules of all paths."""
        types = ["string", "array"] if self.several else ["string"]
        several = {"minItems": 1, "items": {"type": "string"}} if self.several else {}
        return {"type": types, "description": self.help, **several}


_COLUMN = {"type": ["string", "integer"], "minLength": 1, "minimum": 0}

LOCAL_SOURCES: dict[str, LocalSource] = {
    source.key: source
    for source in (
        LocalSource(
            key="shards",
            flag="webdataset",
            help="folder of existing webdataset tars, or a list of folders",
            several=True,
        ),
        LocalSource(
            key="images",
            flag="images",
            help="folder of image files, with captions in a .txt or .json file beside each, or in a table",
            options={
                "captions": {
                    "type": "string",
                    "minLength": 1,
                    "description": "TSV, CSV or Parquet table of image files and captions, with a header",
                },
                **{
                    option: _COLUMN | {"description": f"name, or number from 0 (default: {default})"}
                    for option, default in DEFAULT_FILE_COLUMNS.items()
                },
            },
            inputs=("captions",),
        ),
    )
}
