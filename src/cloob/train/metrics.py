"""The log of a run: one JSON object per line, cut back to the checkpoint when a run resumes."""

import json
from pathlib import Path
from typing import Any


class Metrics:
    """Appends events to a JSON-lines file.

    On opening, what came after `samples_seen` pairs is dropped: those steps will be made again.
    """

    def __init__(self, path: Path, samples_seen: int) -> None:
        kept = []
        if samples_seen and path.exists():
            for line in path.read_text(encoding="utf-8").splitlines():
                try:
                    event = json.loads(line)
                except json.JSONDecodeError:  # the line that a kill tore
                    break
                if event["samples_seen"] > samples_seen:
                    break
                kept.append(line + "\n")
        self._file = path.open("w", encoding="utf-8")
        self._file.writelines(kept)

    def write(self, event: str, samples_seen: int, **values: Any) -> None:
        """Append one event; it is on disk when this returns."""
        record = {"event": event, "samples_seen": samples_seen, **values}
        self._file.write(json.dumps(record) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()
