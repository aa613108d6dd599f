"""Packing folders of captioned images, valid and hostile ones: every image or row has exactly one outcome."""

import errno
import json
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cloob.cli import main
from cloob.common.errors import InputError
from cloob.common.json_files import read_json
from cloob.shards.from_image_folder import image_folder_source, image_table_source
from cloob.shards.source import InputSample, PackSource
from cloob.shards.verify import verify
from tests.helpers.packing import POLICY, images_by_caption, manifest_outcomes, pack_source
from tests.helpers.sample_images import encode_image, jpeg, noise_image

MAX_BYTES = POLICY.max_bytes
# Key of the record -> seed of the image, of the folder that `img2dataset --output_format files` writes.
DOWNLOADED = {"000000000": 1, "000000002": 2}


def write_files(folder: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


def samples_of(source: PackSource) -> list[InputSample]:
    return [sample for chunk in source.chunks for sample in chunk.samples(Path("unused"))]


def outcomes_of(source: PackSource) -> list[str]:
    """The outcome of every sample before its image is decoded."""
    return [sample.rejected or "kept" for sample in samples_of(source)]


def write_img2dataset_folder(folder: Path) -> Path:
    """What img2dataset 1.47 writes with `--output_format files`; row 1 is a failed download."""
    for key, seed in DOWNLOADED.items():
        metadata = {"url": f"http://x.example/{key}.jpg", "caption": f"bird {seed}", "status": "success"}
        write_files(
            folder / "00000",
            {
                f"{key}.jpg": jpeg(seed),
                f"{key}.txt": f"bird {seed}".encode(),
                f"{key}.json": json.dumps(metadata, indent=4).encode(),
            },
        )
    pq.write_table(pa.table({"key": [*DOWNLOADED, "000000001"]}), folder / "00000.parquet")
    (folder / "00000_stats.json").write_text('{"count": 3, "successes": 2}')
    return folder


def test_an_img2dataset_folder_of_files_is_packed_with_its_captions_and_urls(tmp_path: Path) -> None:
    source = image_folder_source(write_img2dataset_folder(tmp_path / "birds"), MAX_BYTES)
    manifest = pack_source(source, tmp_path / "shards")
    assert manifest_outcomes(manifest) == {"kept": 2}
    assert images_by_caption(manifest) == {"bird 1": jpeg(1), "bird 2": jpeg(2)}
    assert read_json(manifest)["files_not_read"] == ["00000.parquet", "00000_stats.json"]
    assert "2 samples" in verify(manifest, manifest.with_name("outcomes.csv"), 1)
    sample = samples_of(source)[0]
    assert sample.provenance["url"] == "http://x.example/000000000.jpg"
    assert sample.provenance["file"] == "00000/000000000.jpg"
    assert sample.provenance["json"]["status"] == "success"


def test_captions_are_read_from_txt_or_else_json_beside_images_of_any_format(tmp_path: Path) -> None:
    folder = write_files(
        tmp_path / "pictures",
        {
            "b/two.PNG": encode_image(noise_image(2), "PNG"),
            "b/two.TXT": "zwei Vögel".encode(),
            "a one.v2.jpeg": jpeg(1),
            "a one.v2.txt": b"\xef\xbb\xbfone bird\r\n",
            "three.webp": encode_image(noise_image(3), "WEBP"),
            "three.json": b'{"caption": "three birds"}',
        },
    )
    manifest = pack_source(image_folder_source(folder, MAX_BYTES), tmp_path / "shards")
    assert manifest_outcomes(manifest) == {"kept": 3}
    assert set(images_by_caption(manifest)) == {"one bird", "zwei Vögel", "three birds"}


HOSTILE_FILES = {
    "no_caption": {"alone.jpg": jpeg(1)},
    "no_image": {"text.txt": b"only a caption"},
    "not_utf8": {"latin.jpg": jpeg(2), "latin.txt": b"caf\xe9"},
    "bad_json": {"cut.jpg": jpeg(3), "cut.txt": b"x", "cut.json": b'{"caption": '},
    "unsafe_name": {"line\nbreak.jpg": jpeg(4), "line\nbreak.txt": b"x"},
    "too_many_bytes": {"novel.jpg": jpeg(5), "novel.txt": b"x" * 5001},
}


@pytest.mark.parametrize("outcome", HOSTILE_FILES)
def test_an_image_that_cannot_be_used_is_counted(tmp_path: Path, outcome: str) -> None:
    good = {"good.png": encode_image(noise_image(9, 4, 4), "PNG"), "good.txt": b"good"}
    folder = write_files(tmp_path / "pictures", HOSTILE_FILES[outcome] | good)
    assert sorted(outcomes_of(image_folder_source(folder, 5000))) == sorted(["kept", outcome])


@pytest.mark.parametrize("blank", ["\u00a0", "\u202f", "\u3000", "\u200d"])
def test_blanks_and_joiners_of_any_language_are_accepted_in_names(tmp_path: Path, blank: str) -> None:
    """Screenshots of macOS have U+202F before AM and PM in their names."""
    name = f"Screenshot at 9.41{blank}AM"
    folder = write_files(tmp_path / "pictures", {f"{name}.jpg": jpeg(1), f"{name}.txt": b"a screenshot"})
    (tmp_path / "captions.csv").write_text(f"file,caption\n{name}.jpg,a screenshot\n", encoding="utf-8")
    assert outcomes_of(image_folder_source(folder, MAX_BYTES)) == ["kept"]
    assert outcomes_of(image_table_source(folder, tmp_path / "captions.csv", MAX_BYTES)) == ["kept"]


def test_images_that_share_a_caption_file_are_counted_once_as_kept(tmp_path: Path) -> None:
    folder = write_files(
        tmp_path / "pictures",
        {"a.jpg": jpeg(1), "a.png": encode_image(noise_image(2), "PNG"), "a.txt": b"which of both?"},
    )
    assert outcomes_of(image_folder_source(folder, MAX_BYTES)) == ["kept", "duplicate_key"]


def test_links_are_followed_but_neither_devices_nor_hidden_files_are_read(tmp_path: Path) -> None:
    elsewhere = write_files(tmp_path / "elsewhere", {"real.jpg": jpeg(1), "real.txt": b"a linked image"})
    folder = write_files(tmp_path / "pictures", {"._a.jpg": b"AppleDouble", ".cache/b.jpg": jpeg(2)})
    (folder / "a.jpg").symlink_to(elsewhere / "real.jpg")
    (folder / "a.txt").symlink_to(elsewhere / "real.txt")
    (folder / "gone.jpg").symlink_to(elsewhere / "nothing.jpg")
    (folder / "again").symlink_to(folder)  # a loop
    os.mkfifo(folder / "pipe.jpg")
    source = image_folder_source(folder, MAX_BYTES)
    assert sorted(outcomes_of(source)) == ["kept", "not_a_file", "not_a_file"]
    assert source.provenance["files_not_read"] == ["._a.jpg", ".cache/b.jpg"]


def test_a_changed_caption_or_image_is_validated_again(tmp_path: Path) -> None:
    folder = write_files(tmp_path / "pictures", {"a.jpg": jpeg(1), "a.txt": b"one"})
    fingerprints = set()
    for name, content in ({"a.txt": b"two!"} | {"a.jpg": jpeg(2, width=60)}).items():
        fingerprints |= {chunk.fingerprint for chunk in image_folder_source(folder, MAX_BYTES).chunks}
        write_files(folder, {name: content})
    fingerprints |= {chunk.fingerprint for chunk in image_folder_source(folder, MAX_BYTES).chunks}
    folder = folder.rename(tmp_path / "moved")
    fingerprints |= {chunk.fingerprint for chunk in image_folder_source(folder, MAX_BYTES).chunks}
    assert len(fingerprints) == 4


@pytest.mark.parametrize("files", [{}, {"00000.tar": b"tar"}, {"notes.txt": b"no image at all"}])
def test_a_folder_without_images_is_an_error_that_names_the_alternative(
    tmp_path: Path, files: dict[str, bytes]
) -> None:
    folder = write_files(tmp_path, files)
    with pytest.raises(InputError, match="contains no image files; for webdataset tars, use --webdataset"):
        image_folder_source(folder, MAX_BYTES)
    with pytest.raises(InputError, match="absent: not a folder"):
        image_folder_source(folder / "absent", MAX_BYTES)


TABLE = """file,caption
one.jpg,"a bird, singing"
deep/two.jpg,two birds
deep/two.jpg,a second caption
gone.jpg,lost
../outside.jpg,escaped
/etc/passwd,absolute
,no file
folder,a folder
deep/../one.jpg,inside after all
too,many,columns
latin.jpg,caf\xe9
"""
TABLE_OUTCOMES = [
    *("kept", "kept", "kept", "no_image", "unsafe_name", "unsafe_name", "no_image", "not_a_file", "kept"),
    *("malformed_row", "not_utf8"),
]


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    write_files(tmp_path, {"outside.jpg": jpeg(8)})
    (tmp_path / "pictures" / "folder").mkdir(parents=True)
    files = {"one.jpg": jpeg(1), "deep/two.jpg": jpeg(2), "latin.jpg": jpeg(3), "not_listed.jpg": jpeg(4)}
    return write_files(tmp_path / "pictures", files)


def test_every_row_of_a_table_has_one_outcome(pictures: Path, tmp_path: Path) -> None:
    table = tmp_path / "captions.csv"
    table.write_bytes(TABLE.encode("latin-1"))
    source = image_table_source(pictures, table, MAX_BYTES)
    assert outcomes_of(source) == TABLE_OUTCOMES
    assert source.num_samples == len(TABLE_OUTCOMES)
    manifest = pack_source(source, tmp_path / "shards")
    assert sum(manifest_outcomes(manifest).values()) == len(TABLE_OUTCOMES)
    images = images_by_caption(manifest)
    assert images["a bird, singing"] == images["inside after all"] == jpeg(1)
    assert images["a second caption"] == images["two birds"] == jpeg(2)


def test_absolute_paths_in_the_folder_and_columns_by_name_or_number_are_accepted(
    pictures: Path, tmp_path: Path
) -> None:
    (tmp_path / "metadata.tsv").write_text(f"text\tfile_name\none bird\t{pictures}/one.jpg\n")
    named = image_table_source(pictures, tmp_path / "metadata.tsv", MAX_BYTES, "file_name", "text")
    numbered = image_table_source(pictures, tmp_path / "metadata.tsv", MAX_BYTES, 1, 0)
    pq.write_table(pa.table({"file": ["one.jpg"], "caption": ["one bird"]}), tmp_path / "t.parquet")
    parquet = image_table_source(pictures, tmp_path / "t.parquet", MAX_BYTES)
    for source in (named, numbered, parquet):
        [sample] = samples_of(source)
        assert (sample.caption, sample.provenance["file"], sample.rejected) == ("one bird", "one.jpg", None)


@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO, errno.ESTALE])
@pytest.mark.parametrize("with_table", [True, False])
def test_an_io_error_is_raised_and_no_image_dropped(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, with_table: bool
) -> None:
    table = tmp_path / "captions.csv"
    table.write_text("file,caption\none.jpg,one\n")
    (pictures / "one.txt").write_text("one")
    source = image_table_source(pictures, table, MAX_BYTES)
    if not with_table:
        source = image_folder_source(pictures, MAX_BYTES)
    fail_stat_of(pictures / "one.jpg", number, monkeypatch)
    for read in (lambda: samples_of(source), lambda: source.chunks[0].fingerprint):
        with pytest.raises(OSError, match=r"one\.jpg") as caught:
            read()
        assert caught.value.errno == number


def test_names_that_are_too_long_loops_of_links_and_unreadable_files_elsewhere_are_outcomes(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (pictures / "loop.jpg").symlink_to("loop.jpg")
    table = tmp_path / "captions.csv"
    table.write_text(f"file,caption\n{'x' * 300},one\nloop.jpg,two\n{tmp_path}/outside.jpg,three\n")
    fail_stat_of(tmp_path / "outside.jpg", errno.EACCES, monkeypatch)
    source = image_table_source(pictures, table, MAX_BYTES)
    assert source.chunks[0].fingerprint
    assert outcomes_of(source) == ["unsafe_name"] * 3


def fail_stat_of(file: Path, number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the system fail to tell the size of a file."""
    stat = Path.stat

    def failing(path: Path, **options: bool) -> os.stat_result:
        if path == file:
            raise OSError(number, os.strerror(number), str(path))
        return stat(path, **options)

    monkeypatch.setattr(Path, "stat", failing)


def test_a_table_without_the_columns_is_an_error_that_lists_them(pictures: Path, tmp_path: Path) -> None:
    table = tmp_path / "captions.csv"
    table.write_text("image,text\none.jpg,one bird\n")
    with pytest.raises(InputError, match=r"captions\.csv: no column 'file'; its columns are image, text"):
        image_table_source(pictures, table, MAX_BYTES)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "captions.csv",
            'file,"caption\n',
            "the first row is not a header; give the names of the columns in it",
        ),
        ("captions.txt", "file,caption\na.jpg,x\n", "its columns are file,caption; rename it to .csv"),
        ("captions.tsv", "file caption\na.jpg x\n", "its columns are file caption"),
        (
            "metadata.jsonl",
            '{"file": "a.jpg", "caption": "x"}\n',
            "JSON is not read: convert it to CSV or Parquet",
        ),
    ],
)
def test_a_table_without_a_readable_header_is_an_error_with_a_remedy(
    pictures: Path, tmp_path: Path, name: str, content: str, message: str
) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError) as caught:
        image_table_source(pictures, tmp_path / name, MAX_BYTES)
    assert str(caught.value).endswith(message)


def pack_by_command(folder: Path, out: Path, *options: object) -> int:
    limits = ["--samples-per-shard=10", "--seed=1", "--max-bytes=9000", "--max-pixels=9000", "--quality=75"]
    files = [f"--images={folder}", f"--out={out}", f"--outcomes={out}/outcomes.csv", "--processes=1"]
    with pytest.raises(SystemExit) as exit_info:
        main(["shards", "pack", *files, *limits, *map(str, options)])
    return exit_info.value.code


def test_the_command_packs_both_forms_and_applies_the_size_limits(pictures: Path, tmp_path: Path) -> None:
    table = tmp_path / "captions.csv"
    table.write_text("picture,caption\none.jpg,one\nnot_listed.jpg,four\n")
    columns = [f"--captions={table}", "--file-column=picture", "--caption-column=1"]
    assert pack_by_command(pictures, tmp_path / "table", *columns) == 0
    assert read_json(tmp_path / "table" / "shards.json")["outcomes"] == {"kept": 2}
    (pictures / "one.txt").write_text("one")
    assert pack_by_command(pictures, tmp_path / "files", "--image-size=16") == 0
    manifest = tmp_path / "files" / "shards.json"
    assert read_json(manifest)["outcomes"] == {"kept": 1, "no_caption": 3}
    assert pq.read_table(manifest.with_name("000000.parquet"))["width"].to_pylist() == [16]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--file-column=x"], "--file-column: only with --captions"),
        (["--captions=absent.csv"], "absent.csv: "),
    ],
)
def test_unusable_options_are_one_line_errors(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], message: str
) -> None:
    assert pack_by_command(pictures, tmp_path / "out", *options) == 2
    assert message in capsys.readouterr().err.splitlines()[-1]


def test_the_output_may_not_be_in_the_folder_of_the_images(
    pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert pack_by_command(pictures, pictures / "shards") == 2
    assert "would overwrite existing" in capsys.readouterr().err
