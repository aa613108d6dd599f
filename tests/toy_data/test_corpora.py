import bz2
import hashlib
import io
from collections import Counter
from pathlib import Path
from urllib.parse import unquote, unquote_plus, urlsplit

import pytest
from PIL import Image

from cloob.toy_data.conceptual import conceptual_list
from cloob.toy_data.faults import CC_KINDS, YFCC_KINDS
from cloob.toy_data.flickr import flickr_world
from cloob.toy_data.vocabulary import places, species


def lines(path: Path) -> list[str]:
    text = (
        bz2.decompress(path.read_bytes()).decode()
        if path.suffix == ".bz2"
        else path.read_text(encoding="utf-8")
    )
    return text.removesuffix("\n").split("\n")


@pytest.fixture(scope="module")
def pairs(world: Path) -> list[list[str]]:
    return [line.split("\t") for line in lines(world / "cc3m" / "Train_GCC-training.tsv")]


@pytest.fixture(scope="module")
def metadata(world: Path) -> list[list[str]]:
    return [line.split("\t") for line in lines(world / "yfcc15m" / "yfcc100m_dataset.bz2")]


@pytest.fixture(scope="module")
def subset(world: Path) -> list[list[str]]:
    return [line.split("\t") for line in lines(world / "yfcc15m" / "yfcc100m_subset_data.tsv.bz2")]


def test_the_books_say_every_kind_and_add_up(record: dict) -> None:
    for book, kinds, rows in (
        (record["cc3m"]["train"], CC_KINDS, record["sizes"]["cc3m_train"]),
        (record["yfcc15m"]["train"], YFCC_KINDS, record["sizes"]["yfcc15m"]),
    ):
        assert {entry["kind"] for entry in book["kinds"]} == {"good", *(kind.name for kind in kinds)}
        assert sum(entry["rows"] for entry in book["kinds"]) == book["rows"] == rows
        kept = sum(entry["rows"] for entry in book["kinds"] if entry["outcome"] == "kept")
        assert kept == book["kept"] > 0.8 * rows


def test_the_captions_list_has_one_row_per_line_and_leads_nowhere_but_home(
    pairs: list[list[str]], record: dict
) -> None:
    assert len(pairs) == record["sizes"]["cc3m_train"]
    hosts = Counter(urlsplit(row[-1]).hostname for row in pairs)
    assert all(host is None or host == "127.0.0.1" or host.endswith(".invalid") for host in hosts)


def test_malformed_rows_and_repeated_links_are_as_many_as_the_books_say(
    pairs: list[list[str]], record: dict
) -> None:
    checkpoint_metadata = {entry["kind"]: entry["rows"] for entry in record["cc3m"]["train"]["kinds"]}
    links = [row[1] for row in pairs if len(row) == 2 and row[1]]
    assert sum(len(row) == 1 for row in pairs) == checkpoint_metadata["missing_tab"]
    assert sum(row[0] == "" for row in pairs) == checkpoint_metadata["empty_caption"]
    assert sum(row[-1] == "" for row in pairs) == checkpoint_metadata["empty_link"]
    assert len(links) - len(set(links)) == checkpoint_metadata["duplicate_link"]
    assert sum("/stall/" in link for link in links) == checkpoint_metadata["timeout"] <= 0.005 * len(pairs)
    assert any(not row[0].isascii() for row in pairs)


def test_every_row_that_should_be_kept_has_a_whole_picture_on_the_server(
    world: Path, pairs: list[list[str]], record: dict
) -> None:
    whole = set()
    for row in pairs:
        if len(row) == 2 and row[0] and row[1].startswith(f"http://127.0.0.1:{record['port']}/"):
            path = unquote(urlsplit(row[1]).path).removeprefix("/redirect")
            file = world / "www" / path.lstrip("/")
            if file.is_file() and is_usable(file.read_bytes()):
                whole.add(path)
    assert len(whole) == record["cc3m"]["train"]["kept"]


def is_usable(content: bytes) -> bool:
    try:
        picture = Image.open(io.BytesIO(content))
        picture.load()
    except (OSError, SyntaxError):
        return False
    return min(picture.size) >= 10 and max(picture.size) <= 3 * min(picture.size)


def test_metadata_has_25_columns_and_names_photos_by_the_hash_of_their_link(
    metadata: list[list[str]], record: dict
) -> None:
    for number, row in enumerate(metadata):
        assert len(row) == 25 and row[0] == str(number)
        digest = hashlib.md5(row[16].encode()).digest()
        assert row[2] == "".join(f"{byte:x}" for byte in digest)
        assert row[24] in "01"
    assert all(urlsplit(row[column]).hostname.endswith(".invalid") for row in metadata for column in (15, 16))
    assert len({row[1] for row in metadata}) == len(metadata) > 1.5 * record["sizes"]["yfcc15m"]


def test_texts_are_url_encoded_and_some_hold_html(metadata: list[list[str]]) -> None:
    assert all(" " not in row[8] + row[9] for row in metadata)
    descriptions = [unquote_plus(row[9]) for row in metadata]
    assert any("<a href=" in text for text in descriptions) and any("\n\n" in text for text in descriptions)
    assert any(not unquote_plus(row[8]).isascii() for row in metadata)


def test_the_subset_joins_by_line_but_for_what_the_books_say(
    world: Path, metadata: list[list[str]], subset: list[list[str]], record: dict
) -> None:
    checkpoint_metadata = {entry["kind"]: entry["rows"] for entry in record["yfcc15m"]["train"]["kinds"]}
    assert [int(row[0]) for row in subset] == sorted({int(row[0]) for row in subset})
    known = {row[2] for row in metadata}
    met = Counter()
    for line, photo_id, photo_hash in subset:
        row = metadata[int(line)]
        if (row[1], row[2]) != (photo_id, photo_hash):
            assert photo_hash not in known
            met["unknown_photo"] += 1
        elif row[24] == "1":
            met["video"] += 1
        elif not row[8] + row[9]:
            met["no_text"] += 1
        else:
            file = world / "www/data/images" / photo_hash[:3] / photo_hash[3:6] / f"{photo_hash}.jpg"
            usable = file.is_file() and is_usable(file.read_bytes())
            met["good" if usable else "no picture"] += 1
    refused = {kind: checkpoint_metadata[kind] for kind in ("video", "no_text", "unknown_photo")}
    assert met == {
        **refused,
        "good": checkpoint_metadata["good"],
        "no picture": sum(checkpoint_metadata.values()) - checkpoint_metadata["good"] - sum(refused.values()),
    }
    assert met["good"] == record["yfcc15m"]["train"]["kept"]


def test_both_corpora_speak_of_every_class_that_a_test_set_asks_for() -> None:
    cc3m = conceptual_list(1, "train", 4000, 8765)[0].lower()
    flickr = unquote_plus("\n".join(flickr_world(1, 2000)[0])).lower()
    wanted = [
        one.names[0]
        for kind in ("bird", "flower", "sign", "car", "action", "object")
        for one in species(kind)
    ]
    for name in [*wanted, *(place["names"][0] for place in places())]:
        assert cc3m.count(name) >= 5 and flickr.count(name) >= 3, name
