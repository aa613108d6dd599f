"""The fenced code blocks of the documentation, as tests run them.

A block whose first line is `# path/of/a/file` is a new file. A `diff` block (`--- path`, then context and
changed lines) edits an existing file. `bash` and `python` blocks without a path are run.
"""

import re
from dataclasses import dataclass
from pathlib import Path

_HEADING = re.compile(r"#{1,6} (.+)")
_FENCE = re.compile(r"\s*```(\w*)\s*$")
_FILE_NAME = re.compile(r"# ([\w.-]+(?:/[\w.-]+)+)$")


@dataclass(frozen=True)
class Block:
    """A fenced block, without its fences, below a heading."""

    heading: str
    language: str
    code: str

    @property
    def file(self) -> str | None:
        """The path, relative to the checkout, of the file that the block shows."""
        match = _FILE_NAME.match(self.code.split("\n", 1)[0])
        return match[1] if match else None


def read_blocks(page: Path) -> list[Block]:
    """All fenced blocks of a Markdown page, in order; raises ValueError for a fence that is not closed."""
    blocks, heading, language, lines = [], "", None, []
    for line in page.read_text(encoding="utf-8").splitlines():
        fence = _FENCE.match(line)
        if language is None:
            if fence:
                language, lines = fence[1], []
            elif match := _HEADING.match(line):
                heading = match[1]
        elif fence:
            blocks.append(Block(heading, language, "\n".join(lines) + "\n"))
            language = None
        else:
            lines.append(line)
    if language is not None:
        raise ValueError(f"{page}: a fence below the heading {heading!r} is not closed")
    return blocks


def blocks_below(page: Path, heading: str) -> list[Block]:
    """The blocks below one heading; raises ValueError if there are none."""
    blocks = [block for block in read_blocks(page) if block.heading == heading]
    if not blocks:
        raise ValueError(f"{page}: no code below the heading {heading!r}")
    return blocks


def apply_to_checkout(blocks: list[Block], checkout: Path) -> None:
    """Write the files and make the edits that the blocks show, as a reader of the page would."""
    for block in blocks:
        if block.language == "diff":
            _apply_diff(block.code, checkout)
        elif block.file:
            path = checkout / block.file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.code, encoding="utf-8")


def _apply_diff(diff: str, checkout: Path) -> None:
    header, *lines = diff.splitlines()
    path = checkout / header.removeprefix("--- ")
    before = "".join(f"{line[1:]}\n" for line in lines if not line.startswith("+"))
    after = "".join(f"{line[1:]}\n" for line in lines if not line.startswith("-"))
    content = path.read_text(encoding="utf-8")
    if content.count(before) != 1:
        raise ValueError(
            f"{path.name} has {content.count(before)} times the lines that the diff expects:\n{before}"
        )
    path.write_text(content.replace(before, after), encoding="utf-8")
