"""OpenAI's subset of YFCC100M joined with the metadata, in one pass over the metadata.

The text form of the metadata has the line numbers that the subset lists; the SQLite dump has none, so its
photos are looked up by their ids.
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from cloob.common.accounting import KEPT, RejectedError, write_outcomes
from cloob.common.errors import InputError
from cloob.download.corpora.caption_rules import CAPTION_RULES
from cloob.download.corpora.plain_text import plain_texts
from cloob.download.corpora.url_table import UrlTableWriter, normalize_url, open_url_table
from cloob.download.corpora.yfcc100m_mismatch import explain_mismatch
from cloob.download.corpora.yfcc100m_sqlite import is_sqlite, join_by_photo_id
from cloob.download.corpora.yfcc100m_subset import Photo, SubsetRows
from cloob.download.corpora.yfcc100m_text import join_by_line_number

_IS_VIDEO = b"1"


def read(
    urls: Path,
    outcomes: Path,
    metadata: Path | Sequence[Path],
    subset: Path,
    caption: str,
    image_base_url: str,
) -> Counter[str]:
    """Write the URL table and the accounting of all rows of the subset; return the rows by outcome.

    `metadata` is the text form (plain or .bz2, whole or its parts in order) or the SQLite dump; `caption` is
    a key of `CAPTION_RULES`. Outcomes: kept, malformed_row (of the subset), not_in_metadata,
    malformed_metadata, photo_id_disagrees, hash_disagrees, duplicate_photo, video, no_caption. Raises
    `InputError` for unusable files, and if no row is kept.
    """
    paths = [metadata] if isinstance(metadata, Path) else [*metadata]
    image_base_url = _normalize_base_url(image_base_url)
    counts: Counter[str] = Counter()
    try:
        sqlite = is_sqlite(paths[0])
    except FileNotFoundError:
        raise InputError(f"{paths[0]}: no such file; copy it there, or give another path") from None
    if sqlite and len(paths) > 1:
        raise InputError(f"{paths[0]}: an SQLite dump is one file, but {len(paths)} are given")
    if sqlite:
        joined = join_by_photo_id(paths[0], subset, counts)
    else:
        joined = join_by_line_number(paths, subset, counts)
    with open_url_table(urls, extra=("line", "photo_id")) as table:
        for subset_rows, photos in joined:
            _add_urls(table, subset_rows, photos, caption, image_base_url, counts)
        total = counts.total()
        if not counts[KEPT]:
            names = ", ".join(str(path) for path in paths)
            raise InputError(
                f"{subset}: none of {total:,} rows matches a photo in {names}: "
                f"{explain_mismatch(paths, subset, sqlite, +counts)}; do they belong together?"
            )
    write_outcomes(outcomes, counts, total)
    return +counts


def _normalize_base_url(image_base_url: str) -> str:
    try:
        return normalize_url(image_base_url).rstrip("/")
    except RejectedError as error:
        raise InputError(
            f"{image_base_url!r}: not a base URL of images ({error}); give http(s)://…"
        ) from None


def _add_urls(
    table: UrlTableWriter,
    subset_rows: SubsetRows,
    photos: list[Photo | None],
    caption: str,
    image_base_url: str,
    counts: Counter[str],
) -> None:
    """Add the URL of every subset row whose photo is usable; count the outcomes of all.

    Only the texts of photos that are not rejected by then are cleaned.
    """
    kept: list[int] = []
    fields: list[bytes] = []
    expected = zip(subset_rows.photo_ids.tolist(), subset_rows.photo_hashes.tolist(), strict=True)
    for index, (photo, (photo_id, photo_hash)) in enumerate(zip(photos, expected, strict=True)):
        if photo is None:
            counts["malformed_metadata"] += 1
        elif photo.photo_id != photo_id:
            counts["photo_id_disagrees"] += 1
        elif photo.photo_hash != photo_hash:
            counts["hash_disagrees"] += 1
        elif photo.marker == _IS_VIDEO:
            counts["video"] += 1
        else:
            kept.append(index)
            fields += photo.title, photo.description
    subset_rows, texts = subset_rows[kept], plain_texts(fields)
    ids = subset_rows.photo_ids.astype(str).tolist()
    captions = list(map(CAPTION_RULES[caption], texts[::2], texts[1::2], ids))
    if not all(captions):
        has_caption = [bool(text) for text in captions]
        counts["no_caption"] += has_caption.count(False)
        subset_rows, captions = subset_rows[has_caption], list(filter(None, captions))
        ids = subset_rows.photo_ids.astype(str).tolist()
    counts[KEPT] += len(subset_rows)
    hashes = subset_rows.photo_hashes.astype(str).tolist()
    urls = [f"{image_base_url}/{name[0:3]}/{name[3:6]}/{name}.jpg" for name in hashes]
    line_numbers = subset_rows.line_numbers.astype(str).tolist()
    table.extend(subset_rows.rows.tolist(), urls, captions, line=line_numbers, photo_id=ids)
