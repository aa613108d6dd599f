"""OpenAI's subset of YFCC100M joined with the metadata, in one pass over it, some thousand photos at once.

The text form has the subset's line numbers; the SQLite dump has none, there the photo's id finds it
(method.md section 4 has the columns).
"""

from collections import Counter
from pathlib import Path

from cloob.common.accounting import KEPT, RejectedError, write_outcomes
from cloob.common.errors import InputError
from cloob.download.corpora.captions import RULES, plain_texts
from cloob.download.corpora.url_table import UrlTable, fetchable, url_table
from cloob.download.corpora.yfcc100m_mismatch import why_none
from cloob.download.corpora.yfcc100m_sqlite import by_photo_id, is_sqlite
from cloob.download.corpora.yfcc100m_subset import Entries, Photo
from cloob.download.corpora.yfcc100m_text import by_line

_VIDEO = b"1"


def join_yfcc(
    metadata: list[Path], subset: Path, caption: str, image_base_url: str, links: Path, outcomes: Path
) -> Counter[str]:
    """Turn every row of the subset's list into a link or a refusal; return the rows by outcome.

    `metadata` is the text form (plain or .bz2, whole or its parts in order), or the SQLite dump. `caption`
    names one of `captions.RULES`. Outcomes: kept, malformed_row (of the subset), not_in_metadata,
    malformed_metadata, photo_id_disagrees, hash_disagrees, duplicate_photo, video, no_caption.
    """
    address = _address(image_base_url)
    found: Counter[str] = Counter()
    try:
        sqlite = is_sqlite(metadata[0])
    except FileNotFoundError:
        raise InputError(f"{metadata[0]}: no such file; put the metadata there or name another") from None
    if sqlite and len(metadata) > 1:
        raise InputError(f"{metadata[0]}: an SQLite dump is one file, but {len(metadata)} are given")
    joined = by_photo_id(metadata[0], subset, found) if sqlite else by_line(metadata, subset, found)
    with url_table(links, more=("line", "photo_id")) as table:
        for entries, photos in joined:
            _add(table, entries, photos, caption, address, found)
        rows = sum(found.values())
        if not found[KEPT]:
            names = ", ".join(str(path) for path in metadata)
            raise InputError(
                f"{subset}: none of {rows:,} rows found its photo in {names}: "
                f"{why_none(metadata, subset, sqlite, +found)}; do they belong together?"
            )
    write_outcomes(outcomes, found, rows)
    return +found


def _address(image_base_url: str) -> str:
    try:
        return fetchable(image_base_url).rstrip("/")
    except RejectedError as error:
        raise InputError(f"{image_base_url!r}: no address of images ({error}); give http(s)://…") from None


def _add(
    table: UrlTable,
    entries: Entries,
    photos: list[Photo | None],
    caption: str,
    image_base_url: str,
    found: Counter[str],
) -> None:
    """Add the link of every entry whose photo has one, and count the outcomes of all."""
    kept, texts = [], []
    asked = zip(entries.photo_ids.tolist(), entries.photo_hashes.tolist(), strict=True)
    for place, (photo, (photo_id, photo_hash)) in enumerate(zip(photos, asked, strict=True)):
        if photo is None:
            found["malformed_metadata"] += 1
        elif photo.photo_id != photo_id:
            found["photo_id_disagrees"] += 1
        elif photo.photo_hash != photo_hash:
            found["hash_disagrees"] += 1
        elif photo.marker == _VIDEO:
            found["video"] += 1
        else:
            kept.append(place)
            texts += photo.title, photo.description
    entries, texts = entries[kept], plain_texts(texts)
    ids = entries.photo_ids.astype(str).tolist()
    captions = list(map(RULES[caption], texts[::2], texts[1::2], ids))
    if not all(captions):
        captioned = [bool(text) for text in captions]
        found["no_caption"] += captioned.count(False)
        entries, captions = entries[captioned], list(filter(None, captions))
        ids = entries.photo_ids.astype(str).tolist()
    found[KEPT] += len(entries)
    hashes = entries.photo_hashes.astype(str).tolist()
    urls = [f"{image_base_url}/{name[0:3]}/{name[3:6]}/{name}.jpg" for name in hashes]
    lines = entries.lines.astype(str).tolist()
    table.extend(entries.rows.tolist(), urls, captions, line=lines, photo_id=ids)
