"""OpenAI's subset of YFCC100M joined with the metadata, in one pass over it.

The text form is in the order of its line numbers, as the subset is, so a merge needs no table in memory; the
SQLite dump has no line numbers, there the photo's id finds it (method.md section 4 has the columns).
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cloob.download.captions import RULES, plain_text
from cloob.download.fates import KEPT, RefusedError, write_fates
from cloob.download.lines import lines
from cloob.download.links import LinkTable, fetchable, link_table
from cloob.download.subset import Entry, read_subset
from cloob.download.yfcc_sqlite import Wanted, found_in, hash_of_link, is_sqlite
from cloob.errors import InputError

_COLUMNS = 25
_PHOTO_ID, _HASH, _TITLE, _DESCRIPTION, _MARKER = 1, 2, 8, 9, 24
_VIDEO = b"1"


@dataclass(frozen=True)
class Photo:
    """What the metadata says about a photo; `title` and `description` as Flickr stored them."""

    photo_id: bytes
    photo_hash: bytes
    marker: bytes
    title: bytes
    description: bytes


def join_yfcc(
    metadata: list[Path], subset: Path, caption: str, images_address: str, links: Path, fates: Path
) -> Counter[str]:
    """Turn every row of the subset's list into a link or a refusal; return the rows by fate.

    `metadata` is the text form (plain or .bz2, whole or its parts in order), or the SQLite dump. `caption`
    names one of `captions.RULES`. Fates: kept, malformed_row (of the subset), not_in_metadata,
    malformed_metadata, photo_id_disagrees, hash_disagrees, duplicate_photo, video, no_caption.
    """
    address = _address(images_address)
    found: Counter[str] = Counter()
    try:
        sqlite = is_sqlite(metadata[0])
    except FileNotFoundError:
        raise InputError(f"{metadata[0]}: no such file; put the metadata there or name another") from None
    if sqlite and len(metadata) > 1:
        raise InputError(f"{metadata[0]}: an SQLite dump is one file, but {len(metadata)} are given")
    joined = _by_photo_id(metadata[0], subset, found) if sqlite else _by_line(metadata, subset, found)
    with link_table(links, more=("line", "photo_id")) as table:
        for entry, photo in joined:
            try:
                if isinstance(photo, RefusedError):
                    raise photo
                _add(table, entry, photo, caption, address)
                found[KEPT] += 1
            except RefusedError as refusal:
                found[str(refusal)] += 1
        rows = sum(found.values())
        if not found[KEPT]:
            names = ", ".join(str(path) for path in metadata)
            raise InputError(
                f"{subset}: none of {rows:,} rows found its photo in {names}; do they belong together?"
            )
    write_fates(fates, found, rows)
    return found


def _address(images_address: str) -> str:
    try:
        return fetchable(images_address).rstrip("/")
    except RefusedError as error:
        raise InputError(f"{images_address!r}: no address of images ({error}); give http(s)://…") from None


def _by_line(
    metadata: list[Path], subset: Path, found: Counter[str]
) -> Iterator[tuple[Entry, Photo | RefusedError]]:
    """Merge by line number: every entry with its photo, or why there is none."""
    records = _records(metadata)
    number, record = next(records, (None, b""))
    for entry in read_subset(subset, found):
        wanted = entry.line
        while number is not None and number < wanted:
            number, record = next(records, (None, b""))
        yield entry, _photo(record) if number == wanted else RefusedError("not_in_metadata")
    for _ in records:  # a damaged or unsorted end must not pass unseen
        pass


def _records(metadata: list[Path]) -> Iterator[tuple[int, bytes]]:
    """Line number and whole line of every record; a line that begins with no number matches nothing."""
    before = -1
    for place, line in enumerate(lines(*metadata, what=metadata[0].name), start=1):
        number = line[: line.find(b"\t")]
        if not number.isdigit():
            continue
        this = int(number)
        if this <= before:
            names = ", ".join(str(path) for path in metadata)
            raise InputError(
                f"{names}: line {place}: line numbers must ascend; is the file sorted otherwise?"
            )
        before = this
        yield this, line


def _photo(record: bytes) -> Photo | RefusedError:
    fields = record.split(b"\t")
    if len(fields) != _COLUMNS:
        return RefusedError("malformed_metadata")
    return Photo(*(fields[column] for column in (_PHOTO_ID, _HASH, _MARKER, _TITLE, _DESCRIPTION)))


def _by_photo_id(
    database: Path, subset: Path, found: Counter[str]
) -> Iterator[tuple[Entry, Photo | RefusedError]]:
    """Every entry whose photo the dump has, in the dump's order; the others are counted at the end."""
    wanted = Wanted(read_subset(subset, found), found)
    for entry, facts in found_in(database, wanted):
        link, marker, title, description = (
            b"" if fact is None else fact if isinstance(fact, bytes) else str(fact).encode() for fact in facts
        )
        photo_hash = hash_of_link(link.decode("utf-8", errors="replace")).encode()
        yield entry, Photo(entry.photo_id, photo_hash, marker, title, description)
    if wanted.missing:
        found["not_in_metadata"] += wanted.missing


def _add(table: LinkTable, entry: Entry, photo: Photo, caption: str, address: str) -> None:
    """Add the photo's link; raises `RefusedError` where there is none to add."""
    if photo.photo_id != entry.photo_id:
        raise RefusedError("photo_id_disagrees")
    if photo.photo_hash != entry.photo_hash:
        raise RefusedError("hash_disagrees")
    if photo.marker == _VIDEO:
        raise RefusedError("video")
    photo_id = entry.photo_id.decode("ascii")
    text = RULES[caption](plain_text(photo.title), plain_text(photo.description), photo_id)
    if not text:
        raise RefusedError("no_caption")
    name = entry.photo_hash.decode("ascii")
    url = f"{address}/{name[0:3]}/{name[3:6]}/{name}.jpg"
    table.add(entry.row, url, text, line=str(entry.line), photo_id=photo_id)
