"""Every format of URL list that `cloob download urls --reader NAME` can read.

To add a format, write `corpora/NAME.py` with a function `read(urls, outcomes, **options)` and add one entry
here. The command line and the check of the configuration follow from the entry. The readers are imported
only when they are called, so importing this module is cheap.
"""

import importlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cloob.download.corpora.caption_rules import CAPTION_RULES
from cloob.download.corpora.url_list_options import DEFAULT_COLUMNS, FORMATS, column_problems


@dataclass(frozen=True)
class Reader:
    """A format of URL list.

    `options` maps each option to a JSON Schema fragment with a `description`; `inputs` names the options that
    are paths of files to read: each a string, or a list of strings where the schema allows an array.
    `problems` yields the options that do not fit the others, each with an explanation.
    """

    name: str
    help: str
    options: Mapping[str, Mapping[str, Any]]
    required: tuple[str, ...]
    inputs: tuple[str, ...]
    problems: Callable[[Mapping[str, Any]], Iterable[tuple[str, str]]] = lambda options: ()

    def read(self, urls: Path, outcomes: Path, **options: Any) -> Counter[str]:
        """Write the URL table `urls` and the row accounting `outcomes`; return the rows by outcome.

        Options in `inputs` are given as `Path` or `list[Path]`. Raises `InputError` for unusable files.
        """
        module = importlib.import_module(f"cloob.download.corpora.{self.name}")
        return module.read(urls, outcomes, **options)

    def takes_list(self, option: str) -> bool:
        """Whether the option accepts several values."""
        return "array" in self.options[option].get("type", ())


_PATH = {"type": "string", "minLength": 1}
_PATHS = {"type": ["string", "array"], "minLength": 1, "minItems": 1, "items": _PATH}
_COLUMN = {"type": ["string", "integer"], "minLength": 1, "minimum": 0}

READERS: dict[str, Reader] = {
    reader.name: reader
    for reader in (
        Reader(
            name="conceptual_captions",
            help="TSV of caption and URL without a header, as published for Conceptual Captions",
            options={
                "list": _PATH | {"description": "TSV of caption and URL without a header, plain or .bz2"},
            },
            required=("list",),
            inputs=("list",),
        ),
        Reader(
            name="yfcc100m",
            help="YFCC100M metadata joined with OpenAI's YFCC15M subset",
            options={
                "metadata": _PATHS
                | {
                    "description": "YFCC100M metadata: text of 25 columns, plain or .bz2, whole or its parts "
                    "in order; or the SQLite dump of 23 columns"
                },
                "subset": _PATH
                | {"description": "OpenAI's list of line number, photo id and hash, plain or .bz2"},
                "caption": {
                    "enum": list(CAPTION_RULES),
                    "description": "which of the user's texts becomes the caption (docs/captions.md)",
                },
                "image_base_url": _PATH
                | {"description": "URL of the folder that contains the images, in folders named by hash"},
            },
            required=("metadata", "subset", "caption", "image_base_url"),
            inputs=("metadata", "subset"),
        ),
        Reader(
            name="url_list",
            help="any TSV, CSV or Parquet with a URL and a caption column",
            options={
                "list": _PATHS | {"description": "one file or several, read in order; text plain or .bz2"},
                "format": {
                    "enum": list(FORMATS),
                    "description": "default: csv or parquet by the file name, else tsv; tsv has no quoting, "
                    "csv is quoted as in RFC 4180",
                },
                "header": {
                    "type": "boolean",
                    "description": "whether the first row of tsv or csv names the columns (default: true)",
                },
                **{
                    option: _COLUMN | {"description": f"name, or number from 0 (default: {default})"}
                    for option, default in DEFAULT_COLUMNS.items()
                },
            },
            required=("list",),
            inputs=("list",),
            problems=column_problems,
        ),
    )
}
