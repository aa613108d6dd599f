"""Random access to packed shards, and detection of shards that differ from their manifest."""

import ctypes
import gc
import hashlib
import itertools
import json
import mmap
import multiprocessing
import os
import pickle
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cloob.common.errors import InputError
from cloob.common.hashing import sha256_file
from cloob.common.json_files import read_json, write_json
from cloob.common.open_files import reserve_open_files
from cloob.shards import reader
from cloob.shards.digests import image_digest, image_digests
from cloob.shards.reader import READ_BLOCK, Shards
from cloob.shards.writer import Sample, write_shard
from tests.helpers.io_errors import resource_limit
from tests.helpers.packing import pack_download
from tests.helpers.peak_memory import PEAK_KILOBYTES
from tests.helpers.synthetic_corpora import write_synthetic_shards


@pytest.fixture
def manifest(download: tuple[list[Path], Path], tmp_path: Path) -> Path:
    return pack_download(download, tmp_path / "shards")


def first_caption(shards: Shards) -> str:
    return shards.sample(0)[1]


def test_forked_and_pickled_readers_return_the_same_samples(manifest: Path) -> None:
    shards = Shards(manifest)
    expected = first_caption(shards)
    with multiprocessing.get_context("fork").Pool(1) as pool:
        assert pool.map(first_caption, [shards] * 3) == [expected] * 3
    assert pickle.loads(pickle.dumps(shards)).sample(22) == shards.sample(22)  # noqa: S301


def test_index_beyond_the_last_sample_raises_index_error(manifest: Path) -> None:
    shards = Shards(manifest)
    assert len(shards) == 23
    with pytest.raises(IndexError):
        shards.sample(23)


@pytest.mark.parametrize("name", ["000001.tar", "000001.parquet"])
def test_missing_tar_or_index_raises_input_error(manifest: Path, name: str) -> None:
    (manifest.parent / name).unlink()
    with pytest.raises(InputError, match=f"{name}: listed in the manifest, but the file is missing"):
        Shards(manifest)


def test_tar_of_another_size_raises_input_error(manifest: Path) -> None:
    tar = manifest.parent / "000001.tar"
    tar.write_bytes(tar.read_bytes()[:-1024])
    with pytest.raises(InputError, match=r"000001\.tar: .* bytes, .* in the manifest"):
        Shards(manifest)


def test_index_of_another_shard_raises_input_error(manifest: Path) -> None:
    (manifest.parent / "000000.parquet").write_bytes((manifest.parent / "000002.parquet").read_bytes())
    with pytest.raises(InputError, match=r"000000\.parquet: changed after packing"):
        Shards(manifest)


def manifest_with(samples: object, size: object = 10**10, name: str = "a.tar") -> str:
    """The text of a manifest of one shard."""
    shard = {"name": name, "samples": samples, "bytes": size, "sha256": "", "index_sha256": ""}
    return json.dumps({"sha256": "", "shards": [shard]})


@pytest.mark.parametrize(
    "content",
    [
        "[]",
        '{"shards": []}',
        '{"shards": [{"name": "a"}], "sha256": "a"}',
        *map(manifest_with, (-1, 10**15, 10**30, True)),
        manifest_with(10**27, 10**30),
        *(manifest_with(1, name=name) for name in ("/", "../a.tar", "\0.tar", "\ud800.tar")),
    ],
)
def test_invalid_manifest_raises_input_error(tmp_path: Path, content: str) -> None:
    path = tmp_path / "shards.json"
    path.write_text(content)
    with pytest.raises(InputError, match="not a shard manifest"):
        Shards(path)


def test_modified_image_raises_input_error(manifest: Path) -> None:
    """A modified image may still decode, so only its SHA-256 reveals the change."""
    shards = Shards(manifest)
    tar = shards.tar_path(0)
    image, key = shards.sample(0)[0], shards.key(0)
    content = bytearray(tar.read_bytes())
    content[content.index(image) + len(image) // 2] ^= 1
    tar.write_bytes(content)
    with pytest.raises(InputError) as raised:
        Shards(manifest).sample(0)
    assert str(raised.value) == (
        f"{tar}: changed after packing: the image of sample {key} differs from the index (SHA-256); "
        "run `cloob shards verify` to find the difference; restore the file or pack the shards again"
    )


def test_damaged_caption_raises_input_error(manifest: Path) -> None:
    shards = Shards(manifest)
    tar, caption, key = shards.tar_path(0), shards.caption(0), shards.key(0)
    content = tar.read_bytes()
    offset, length = (
        pq.read_table(tar.with_suffix(".parquet"))["caption_offset"][0].as_py(),
        len(caption.encode()),
    )
    tar.write_bytes(content[:offset] + b"\xff" * length + content[offset + length :])
    for read in (Shards(manifest).caption, Shards(manifest).sample):
        with pytest.raises(
            InputError, match=f"the caption of sample {key} is not UTF-8; run `cloob shards verify`"
        ):
            read(0)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("sha256", "0" * 63),
        ("sha256", "x" * 64),
        ("sha256", "A" * 64),
        ("sha256", None),
        ("image_offset", 513),
        ("image_offset", 2**41),
        ("image_offset", -512),
        ("image_offset", 512_000_000),
        ("image_length", 2**32),
        ("image_length", -1),
        ("caption_length", None),
    ],
)
def test_index_with_an_impossible_value_raises_input_error(
    manifest: Path, column: str, value: object
) -> None:
    index = manifest.parent / "000001.parquet"
    table = pq.read_table(index)
    values = [*table[column].to_pylist()[:-1], value]
    table = table.set_column(
        table.schema.get_field_index(column), table.schema.field(column), pa.array(values, table[column].type)
    )
    replace_index(manifest, table)
    with pytest.raises(InputError, match=r"000001\.parquet: not a shard index \("):
        Shards(manifest)


def replace_index(manifest: Path, table: pa.Table, **options: Any) -> None:
    """Write another index of shard 1, and its SHA-256 to the manifest."""
    index = manifest.parent / "000001.parquet"
    pq.write_table(table, index, **options)
    content = read_json(manifest)
    content["shards"][1]["index_sha256"] = sha256_file(index)
    write_json(manifest, content)


def test_indexes_of_other_compression_row_groups_and_integer_types_are_read(manifest: Path) -> None:
    shards = Shards(manifest)
    expected = [shards.sample(index) for index in range(len(shards))]
    table = pq.read_table(manifest.parent / "000001.parquet")
    columns = [pa.field(f.name, pa.int32() if f.type == pa.int64() else f.type) for f in table.schema]
    replace_index(manifest, table.cast(pa.schema(columns)), compression="zstd", row_group_size=3)
    shards = Shards(manifest)
    assert [shards.sample(index) for index in range(len(shards))] == expected


@pytest.mark.parametrize("kind", [pa.float64(), pa.large_binary()])
def test_index_with_offsets_of_another_type_raises_input_error(manifest: Path, kind: pa.DataType) -> None:
    table = pq.read_table(manifest.parent / "000001.parquet")
    values = [0.5 if kind == pa.float64() else b"x"] * len(table)
    number = table.schema.get_field_index("image_offset")
    replace_index(manifest, table.set_column(number, "image_offset", pa.array(values, kind)))
    with pytest.raises(InputError, match=r"000001\.parquet: not a shard index \("):
        Shards(manifest)


def test_digests_are_the_first_64_bits_of_the_hashes_also_of_a_slice() -> None:
    hashes = [hashlib.sha256(bytes([number])).hexdigest() for number in range(5)]
    expected = [int(digest[:16], 16) for digest in hashes]
    assert image_digests(pa.array(hashes)).tolist() == expected
    assert image_digests(pa.array(hashes)[2:4]).tolist() == expected[2:4]
    assert image_digests(pa.array([], pa.string())).tolist() == []
    assert image_digest(b"\x03") == expected[3]


def resident_bytes(path: Path) -> int:
    """How many bytes of a file are in the page cache (mincore)."""
    libc = ctypes.CDLL(None, use_errno=True)
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, mmap.MAP_PRIVATE, mmap.PROT_READ) as mapped:
        pages = -(-len(mapped) // mmap.PAGESIZE)
        resident = (ctypes.c_ubyte * pages)()
        address = np.frombuffer(mapped, dtype=np.uint8).ctypes.data
        if libc.mincore(ctypes.c_void_p(address), ctypes.c_size_t(len(mapped)), resident):
            raise OSError(ctypes.get_errno(), "mincore")
        return mmap.PAGESIZE * sum(page & 1 for page in resident)


def test_requested_blocks_arrive_completely_in_the_page_cache(tmp_path: Path) -> None:
    """A block is larger than what Linux reads for one request: it ignores the rest of the request."""
    number = 2 * READ_BLOCK
    images = [os.urandom(50_000) for _ in range(number)]
    samples = [
        Sample(f"{i:06d}", image, "a", hashlib.sha256(image).hexdigest(), 1, 1)
        for i, image in enumerate(images)
    ]
    tar = tmp_path / "000000.tar"
    write_json(tmp_path / "shards.json", {"sha256": "", "shards": [write_shard(tar, samples)]})
    with tar.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    if resident_bytes(tar) > 0:
        pytest.skip(f"{tmp_path}: its file system keeps files in memory, so nothing can be read ahead")
    Shards(tmp_path / "shards.json").request_blocks([1])
    expected = READ_BLOCK * 50_000
    deadline = time.monotonic() + 20
    while resident_bytes(tar) < expected and time.monotonic() < deadline:
        time.sleep(0.02)
    assert expected <= resident_bytes(tar) < 1.5 * expected


def test_requests_to_the_operating_system_have_at_most_512_kb(manifest: Path, monkeypatch) -> None:
    monkeypatch.setattr(reader, "_PIECE_BYTES", 1000)
    requests = []
    monkeypatch.setattr(
        os, "posix_fadvise", lambda _, start, length, advice: requests.append((start, length))
    )
    shards = Shards(manifest)
    shards.request_blocks([0])
    tars = [tar.stat().st_size for tar in shards.tars]
    assert {length for _, length in requests} - {1000} and max(length for _, length in requests) == 1000
    assert sum(tars) - 23 * 2048 < sum(length for _, length in requests) < sum(tars)  # of all three


def test_samples_of_a_block_request_it_once_and_reading_ahead_requests_it_every_time(
    manifest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the next epoch, the page cache may have dropped a block that was requested in this one."""
    monkeypatch.setattr(reader, "READ_BLOCK", 8)
    monkeypatch.setattr(reader, "_REMEMBERED_BLOCKS", 2)
    requested: list[int] = []
    request = Shards._request
    monkeypatch.setattr(
        Shards, "_request", lambda shards, block: requested.append(block) or request(shards, block)
    )
    shards = Shards(manifest)
    for index in (0, 7, 8, 0):
        shards.sample(index)
    assert requested == [0, 1]
    shards.request_blocks([0])
    shards.sample(0)
    assert requested == [0, 1, 0]
    for index in (16, 0, 8):  # block 1 is the one requested longest ago
        shards.sample(index)
    assert requested == [0, 1, 0, 2, 1]


def test_all_shards_stay_open_if_the_hard_limit_allows_it(manifest: Path) -> None:
    class Owner:
        """Keeps files open."""

    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    owner = Owner()
    gc.collect()  # readers of other tests, which had reserved files
    with resource_limit(resource.RLIMIT_NOFILE, 1000):
        assert reserve_open_files(owner, 400) == 400
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == 1000
        assert reserve_open_files(owner, 900) == 900
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (1800, hard)
        assert reserve_open_files(owner, hard) == hard // 2
    assert Shards(manifest).open_files_note() == ""


@pytest.mark.parametrize("hard", [64, 1000])
def test_the_limit_on_open_files_suffices_for_several_corpora(
    manifest: Path, tmp_path: Path, hard: int
) -> None:
    [first, *_] = read_json(manifest)["shards"]
    names = [f"{number:06d}" for number in range(40)]
    for name, suffix in itertools.product(names, (".tar", ".parquet")):
        os.link(manifest.with_name(f"000000{suffix}"), tmp_path / f"{name}{suffix}")
    shards = [first | {"name": f"{name}.tar"} for name in names]
    write_json(tmp_path / "shards.json", read_json(manifest) | {"shards": shards})
    script = (
        "import resource, sys\n"
        "from cloob.shards.reader import Shards\n"
        f"resource.setrlimit(resource.RLIMIT_NOFILE, (64, {hard}))\n"
        "corpora = [Shards(path) for path in sys.argv[1:]]\n"
        "samples = [shards.sample(index) for shards in corpora for index in range(len(shards))]\n"
        "print(len(samples))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *3 * [str(tmp_path / "shards.json")]],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.stderr) == (f"{3 * len(Shards(tmp_path / 'shards.json'))}\n", "")


def test_a_low_hard_limit_on_open_files_is_noted_and_reading_still_works(
    manifest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shards = Shards(manifest)
    expected = [shards.sample(index) for index in range(len(shards))]
    monkeypatch.setattr(resource, "getrlimit", lambda _: (2, 2))
    limited = Shards(manifest)
    assert limited.open_files_note() == (
        f"note: {manifest}: only 1 of 3 shards are kept open, because of the hard limit on open files "
        "(ulimit -Hn); the others are opened for every read. Raise the limit to 6 if loading is slow"
    )
    before = len(list(Path("/proc/self/fd").iterdir()))
    assert [limited.sample(index) for index in range(len(limited))] == expected
    assert len(list(Path("/proc/self/fd").iterdir())) == before + 1


@pytest.mark.slow
def test_a_corpus_of_50_million_samples_opens_in_24_bytes_per_sample(tmp_path: Path) -> None:
    """Beyond 33.5 million samples, 64 hexadecimal digits each do not fit into one Arrow string array."""
    manifest = write_synthetic_shards(tmp_path, 50_000_000)
    code = (
        "import sys\n"
        "from cloob.shards.reader import Shards\n"
        "before = peak_kilobytes()\n"
        "shards = Shards(sys.argv[1])\n"
        "grown = 1024 * (peak_kilobytes() - before)\n"
        "print(len(shards), grown, shards.key(len(shards) - 1), shards.tar_path(len(shards) - 1).name)\n"
    )
    opened = subprocess.run(
        [sys.executable, "-c", PEAK_KILOBYTES + code, manifest], capture_output=True, text=True, check=True
    ).stdout.split()
    assert int(opened[0]) == 50_000_000
    assert int(opened[1]) < 50_000_000 * 24 + 200_000_000
    assert opened[2:] == [pq.read_table(tmp_path / "004999.parquet")["key"][-1].as_py(), "004999.tar"]
