"""Conceptual Captions: rows of `caption<TAB>url`, UTF-8, no header, quotes mean nothing."""

from collections import Counter
from hashlib import blake2b
from pathlib import Path

from cloob.common.accounting import KEPT, RejectedError, write_outcomes
from cloob.common.errors import InputError
from cloob.download.corpora.captions import one_line
from cloob.download.corpora.text_lines import lines
from cloob.download.corpora.url_table import fetchable, url_table


def read_cc(list_file: Path, links: Path, outcomes: Path) -> Counter[str]:
    """Turn every row of the list into a link or a refusal; return the rows by outcome.

    Outcomes: kept, malformed_row (no tab), not_utf8, empty_caption, empty_link, not_http, bad_link,
    duplicate_link (the link of an earlier row). Where a row holds several tabs, the last one
    parts caption and link.
    """
    found: Counter[str] = Counter()
    first = b""
    # 16 bytes a link instead of the link itself: the true list's 3.3 million fit in about 0.3 GB.
    seen: set[bytes] = set()
    with url_table(links) as table:
        row = 0
        for row, line in enumerate(lines(list_file, what=list_file.name), start=1):
            first = first or line
            try:
                caption, url = _read_row(line)
            except RejectedError as refusal:
                found[str(refusal)] += 1
                continue
            mark = blake2b(url.encode("ascii"), digest_size=16).digest()
            if mark in seen:
                found["duplicate_link"] += 1
                continue
            seen.add(mark)
            found[KEPT] += 1
            table.add(row, url, caption)
        if not found[KEPT]:
            raise InputError(
                f"{list_file}: none of {row:,} rows is `caption<TAB>http link`; {_form_of(first)}"
            )
    write_outcomes(outcomes, found, row)
    return found


def _read_row(line: bytes) -> tuple[str, str]:
    """Caption and link of a row; raises `RefusedError` with the outcome of a row that has not both."""
    caption, tab, link = line.rpartition(b"\t")
    if not tab:
        raise RejectedError("malformed_row")
    try:
        caption_text, link_text = caption.decode("utf-8"), link.decode("utf-8")
    except UnicodeDecodeError:
        raise RejectedError("not_utf8") from None
    caption_text = one_line(caption_text)
    if not caption_text:
        raise RejectedError("empty_caption")
    return caption_text, fetchable(link_text)


def _form_of(row: bytes) -> str:
    """What a row is instead, for the message."""
    columns = row.split(b"\t")
    if len(columns) > 1 and columns[0].strip().startswith((b"http://", b"https://")):
        return "the link comes first: swap the columns"
    shown = repr(row[:80].decode("utf-8", errors="replace"))
    return f"the first has {len(columns)} columns: {shown}; is it the right file?"
