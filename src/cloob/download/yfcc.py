"""OpenAI's subset of YFCC100M joined with the metadata: one pass over both, line by line.

Both files are in the order of the metadata's line numbers, so a merge needs no table in memory
(method.md section 4 has the 25 columns).
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from cloob.download.captions import RULES, plain_text
from cloob.download.fates import KEPT, RefusedError, write_fates
from cloob.download.lines import lines
from cloob.download.links import LinkTable, fetchable, link_table
from cloob.errors import InputError

_COLUMNS = 25
_PHOTO_ID, _HASH, _TITLE, _DESCRIPTION, _MARKER = 1, 2, 8, 9, 24
_VIDEO = b"1"
_SUBSET_ROW = re.compile(rb"([0-9]+)\t([0-9]+)\t([0-9a-f]{7,64})")


def join_yfcc(
    metadata: Path, subset: Path, caption: str, images_address: str, links: Path, fates: Path
) -> Counter[str]:
    """Turn every row of the subset's list into a link or a refusal; return the rows by fate.

    Fates: kept, malformed_row (of the subset), not_in_metadata, malformed_metadata,
    photo_id_disagrees, hash_disagrees, video, no_caption. `caption` names one of `captions.RULES`.
    """
    rule, address = RULES[caption], _address(images_address)
    found: Counter[str] = Counter()
    with link_table(links, more=("photo_id",)) as table:
        rows = 0
        records = _records(metadata)
        number, record = next(records, (None, b""))
        wanted_before = -1
        for rows, line in enumerate(lines(subset), start=1):
            entry = _SUBSET_ROW.fullmatch(line)
            if not entry:
                found["malformed_row"] += 1
                continue
            wanted = int(entry[1])
            if wanted <= wanted_before:
                raise InputError(
                    f"{subset}: row {rows}: line numbers must ascend; sort the list by its first column"
                )
            wanted_before = wanted
            while number is not None and number < wanted:
                number, record = next(records, (None, b""))
            try:
                if number != wanted:
                    raise RefusedError("not_in_metadata")
                _add(table, rows, record, entry[2], entry[3], rule, address)
                found[KEPT] += 1
            except RefusedError as refusal:
                found[str(refusal)] += 1
        for _ in records:  # a damaged or unsorted end must not pass unseen
            pass
        if not found[KEPT]:
            raise InputError(
                f"{subset}: none of {rows:,} rows found its photo in {metadata}; do they belong together?"
            )
    write_fates(fates, found, rows)
    return found


def _address(images_address: str) -> str:
    try:
        return fetchable(images_address).rstrip("/")
    except RefusedError as error:
        raise InputError(f"{images_address!r}: no address of images ({error}); give http(s)://…") from None


def _records(metadata: Path) -> Iterator[tuple[int, bytes]]:
    """Line number and whole line of every record; a line that begins with no number matches nothing."""
    before = -1
    for place, line in enumerate(lines(metadata, metadata.name), start=1):
        number, _, _ = line.partition(b"\t")
        if not number.isdigit():
            continue
        this = int(number)
        if this <= before:
            raise InputError(
                f"{metadata}: line {place}: line numbers must ascend; is the file sorted otherwise?"
            )
        before = this
        yield this, line


def _add(
    table: LinkTable,
    row: int,
    record: bytes,
    photo_id: bytes,
    photo_hash: bytes,
    rule: Callable[[str, str], str],
    address: str,
) -> None:
    """Add the photo's link; raises `RefusedError` where there is none to add."""
    fields = record.split(b"\t")
    if len(fields) != _COLUMNS:
        raise RefusedError("malformed_metadata")
    if fields[_PHOTO_ID] != photo_id:
        raise RefusedError("photo_id_disagrees")
    if fields[_HASH] != photo_hash:
        raise RefusedError("hash_disagrees")
    if fields[_MARKER] == _VIDEO:
        raise RefusedError("video")
    caption = rule(plain_text(fields[_TITLE]), plain_text(fields[_DESCRIPTION]))
    if not caption:
        raise RefusedError("no_caption")
    name = photo_hash.decode("ascii")
    url = f"{address}/{name[0:3]}/{name[3:6]}/{name}.jpg"
    table.add(row, url, caption, photo_id=photo_id.decode("ascii"))
