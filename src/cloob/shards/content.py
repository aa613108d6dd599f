"""The identity of a corpus: a hash over what it holds, whatever the shards' size; and its manifest's own."""

import json
from hashlib import sha256
from typing import Any


class ContentHash:
    """SHA-256 over every sample in order: its key, its image's SHA-256, its caption."""

    def __init__(self) -> None:
        self._hash = sha256()

    def add(self, key: str, image_sha256: str, caption: str) -> None:
        """Add the next sample."""
        self._hash.update(json.dumps([key, image_sha256, caption]).encode("ascii") + b"\n")

    def hexdigest(self) -> str:
        """The hash of all samples so far, in hexadecimal."""
        return self._hash.hexdigest()


def sealed(manifest: dict[str, Any]) -> dict[str, Any]:
    """The manifest, its `seal` the SHA-256 over all else that it says."""
    said = {name: value for name, value in manifest.items() if name != "seal"}
    return said | {"seal": sha256(json.dumps(said, sort_keys=True).encode("ascii")).hexdigest()}
