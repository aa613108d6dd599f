"""The toy corpora have the formats and the recorded defects of the real URL lists."""

import bz2
import hashlib
import io
from collections import Counter
from pathlib import Path
from urllib.parse import unquote, unquote_plus, urlsplit

import pytest
from PIL import Image

from cloob.toy_data.conceptual_captions import conceptual_captions
from cloob.toy_data.row_kinds import CONCEPTUAL_CAPTIONS_KINDS, YFCC100M_KINDS
from cloob.toy_data.vocabulary import places, species
from cloob.toy_data.yfcc100m import yfcc100m


def lines(path: Path) -> list[str]:
    text = (
        bz2.decompress(path.read_bytes()).decode()
        if path.suffix == ".bz2"
        else path.read_text(encoding="utf-8")
    )
    return text.removesuffix("\n").split("\n")


@pytest.fixture(scope="module")
def caption_rows(toy_dataset: Path) -> list[list[str]]:
    """The rows of the CC3M training list."""
    return [line.split("\t") for line in lines(toy_dataset / "cc3m" / "Train_GCC-training.tsv")]


@pytest.fixture(scope="module")
def photos(toy_dataset: Path) -> list[list[str]]:
    """The rows of the YFCC100M metadata."""
    return [line.split("\t") for line in lines(toy_dataset / "yfcc15m" / "yfcc100m_dataset.bz2")]


@pytest.fixture(scope="module")
def subset(toy_dataset: Path) -> list[list[str]]:
    """The rows of the YFCC15M subset list."""
    return [line.split("\t") for line in lines(toy_dataset / "yfcc15m" / "yfcc100m_subset_data.tsv.bz2")]


def rows_by_kind(metadata: dict, corpus: str) -> dict[str, int]:
    return {entry["kind"]: entry["rows"] for entry in metadata[corpus]["train"]["kinds"]}


def test_expected_accounting_has_every_kind_and_sums_to_the_number_of_rows(metadata: dict) -> None:
    for corpus, kinds, rows in (
        ("cc3m", CONCEPTUAL_CAPTIONS_KINDS, metadata["sizes"]["cc3m_train"]),
        ("yfcc15m", YFCC100M_KINDS, metadata["sizes"]["yfcc15m"]),
    ):
        accounting = metadata[corpus]["train"]
        assert rows_by_kind(metadata, corpus).keys() == {"good", *(kind.name for kind in kinds)}
        assert sum(entry["rows"] for entry in accounting["kinds"]) == accounting["rows"] == rows
        kept = sum(entry["rows"] for entry in accounting["kinds"] if entry["rejected_at"] is None)
        assert kept == accounting["kept"] > 0.8 * rows


def test_cc3m_list_has_one_line_per_row_and_only_local_or_unresolvable_hosts(
    caption_rows: list[list[str]], metadata: dict
) -> None:
    assert len(caption_rows) == metadata["sizes"]["cc3m_train"]
    hosts = Counter(urlsplit(row[-1]).hostname for row in caption_rows)
    assert all(host is None or host == "127.0.0.1" or host.endswith(".invalid") for host in hosts)


def test_cc3m_list_has_the_recorded_numbers_of_malformed_and_duplicate_rows(
    caption_rows: list[list[str]], metadata: dict
) -> None:
    expected = rows_by_kind(metadata, "cc3m")
    urls = [row[1] for row in caption_rows if len(row) == 2 and row[1]]
    assert sum(len(row) == 1 for row in caption_rows) == expected["missing_tab"]
    assert sum(row[0] == "" for row in caption_rows) == expected["empty_caption"]
    assert sum(row[-1] == "" for row in caption_rows) == expected["empty_url"]
    assert len(urls) - len(set(urls)) == expected["duplicate_url"]
    assert sum("/stall/" in url for url in urls) == expected["timeout"] <= 0.005 * len(caption_rows)
    assert any(not row[0].isascii() for row in caption_rows)


def test_exactly_the_rows_to_keep_have_a_usable_image_on_the_server(
    toy_dataset: Path, caption_rows: list[list[str]], metadata: dict
) -> None:
    usable = set()
    for row in caption_rows:
        if len(row) == 2 and row[0] and row[1].startswith(f"http://127.0.0.1:{metadata['port']}/"):
            path = unquote(urlsplit(row[1]).path).removeprefix("/redirect")
            file = toy_dataset / "www" / path.lstrip("/")
            if file.is_file() and is_usable(file.read_bytes()):
                usable.add(path)
    assert len(usable) == metadata["cc3m"]["train"]["kept"]


def is_usable(content: bytes) -> bool:
    try:
        image = Image.open(io.BytesIO(content))
        image.load()
    except (OSError, SyntaxError):
        return False
    return min(image.size) >= 10 and max(image.size) <= 3 * min(image.size)


def test_yfcc100m_metadata_has_25_columns_and_hashes_of_the_download_urls(
    photos: list[list[str]], metadata: dict
) -> None:
    for number, row in enumerate(photos):
        assert len(row) == 25 and row[0] == str(number)
        digest = hashlib.md5(row[16].encode()).digest()
        assert row[2] == "".join(f"{byte:x}" for byte in digest)
        assert row[24] in "01"
    assert all(urlsplit(row[column]).hostname.endswith(".invalid") for row in photos for column in (15, 16))
    assert len({row[1] for row in photos}) == len(photos) > 1.5 * metadata["sizes"]["yfcc15m"]


def test_yfcc100m_texts_are_percent_encoded_and_some_contain_html(photos: list[list[str]]) -> None:
    assert all(" " not in row[8] + row[9] for row in photos)
    descriptions = [unquote_plus(row[9]) for row in photos]
    assert any("<a href=" in text for text in descriptions) and any("\n\n" in text for text in descriptions)
    assert any(not unquote_plus(row[8]).isascii() for row in photos)


def test_yfcc15m_subset_joins_with_the_metadata_except_for_the_recorded_rows(
    toy_dataset: Path, photos: list[list[str]], subset: list[list[str]], metadata: dict
) -> None:
    expected = rows_by_kind(metadata, "yfcc15m")
    assert [int(row[0]) for row in subset] == sorted({int(row[0]) for row in subset})
    known_hashes = {row[2] for row in photos}
    counts = Counter()
    for line, photo_id, photo_hash in subset:
        row = photos[int(line)]
        if (row[1], row[2]) != (photo_id, photo_hash):
            assert photo_hash not in known_hashes
            counts["unknown_photo"] += 1
        elif row[24] == "1":
            counts["video"] += 1
        elif not row[8] + row[9]:
            counts["no_text"] += 1
        else:
            file = toy_dataset / "www/data/images" / photo_hash[:3] / photo_hash[3:6] / f"{photo_hash}.jpg"
            usable = file.is_file() and is_usable(file.read_bytes())
            counts["good" if usable else "no image"] += 1
    rejected_in_list = {kind: expected[kind] for kind in ("video", "no_text", "unknown_photo")}
    assert counts == {
        **rejected_in_list,
        "good": expected["good"],
        "no image": sum(expected.values()) - expected["good"] - sum(rejected_in_list.values()),
    }
    assert counts["good"] == metadata["yfcc15m"]["train"]["kept"]


def test_captions_of_both_corpora_mention_every_class_of_the_test_sets() -> None:
    cc3m = conceptual_captions(1, "train", 4000, 8765)[0].lower()
    yfcc15m = unquote_plus("\n".join(yfcc100m(1, 2000)[0])).lower()
    class_names = [
        entry.names[0]
        for kind in ("bird", "flower", "sign", "car", "action", "object")
        for entry in species(kind)
    ]
    for name in [*class_names, *(place["names"][0] for place in places())]:
        assert cc3m.count(name) >= 5 and yfcc15m.count(name) >= 3, name
