"""Preparation of test sets: valid distributions become class folders, and invalid ones are rejected."""

import csv
import hashlib
import io
import re
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import yaml
from PIL import Image
from scipy.io import savemat
from torchvision.datasets import Flowers102

from cloob.cli import main
from cloob.evaluate.cli_options import load_specs
from cloob.evaluate.testsets.image_folder import LabeledFolder
from cloob.evaluate.testsets.spec import load_spec
from cloob.evaluate.testsets.video import middle_frame
from tests.helpers.locked_file import locked_elsewhere
from tests.helpers.range_server import RangeServer, ServedFile
from tests.helpers.repository import ROOT
from tests.helpers.webdataset_folders import serve, write_classification

SPECS = ROOT / "config" / "datasets"


@pytest.fixture
def web() -> Iterator[RangeServer]:
    with RangeServer() as server:
        yield server


def image_bytes(level: int = 0, form: str = "JPEG") -> bytes:
    content = io.BytesIO()
    Image.new("RGB", (12, 10), (level, level, level)).save(content, form)
    return content.getvalue()


def zip_of(names: list[str]) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name in names:
            archive.writestr(name, b"" if name.endswith("/") else image_bytes())
    return content.getvalue()


def prepare(
    tmp_path: Path, spec_path: Path, source: str = "processed", local_files: Path | None = None
) -> int:
    options = ["--archives", str(tmp_path / "archives"), "--out", str(tmp_path / "out"), "--workers", "1"]
    options += ["--local-files", str(local_files)] if local_files else []
    with pytest.raises(SystemExit) as end:
        main(["evaluate", "prepare-testset", "--spec", str(spec_path), "--source", source, *options])
    return end.value.code


def error_of(capfd: pytest.CaptureFixture) -> str:
    return capfd.readouterr().err.strip().splitlines()[-1]


def tree(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def processed(web: RangeServer, archive: bytes) -> dict:
    web.files["birds.zip"] = ServedFile(archive)
    file = {"url": web.url_of("birds.zip"), "checksum": None, "max_bytes": 100_000}
    return {"processed": {"layout": "class_folders", "files": [file]}}


BIRDS = ["birds/test/0/a.jpg", "birds/test/0/b.jpg", "birds/test/1/", "birds/test/2/a.jpg"]
EXPECTED = {"classes": 3, "images": 3, "empty": [1]}


def test_processed_archive_is_downloaded_unpacked_and_validated(
    web, tmp_path: Path, write_spec: Callable, capfd
) -> None:
    archive = zip_of([*BIRDS, "__MACOSX/birds/x"])
    path = write_spec(tmp_path / "d.yaml", source=processed(web, archive), expected=EXPECTED)
    assert prepare(tmp_path, path) == 0
    assert tree(tmp_path / "out") == ["test/0/a.jpg", "test/0/b.jpg", "test/2/a.jpg"]
    assert (tmp_path / "out/test/1").is_dir()
    assert "3 test images of 3 classes, as expected" in capfd.readouterr().out
    assert sorted(path.name for path in tmp_path.iterdir()) == ["archives", "d.yaml", "out"]


def test_a_test_set_that_is_being_prepared_is_left_alone(
    web, tmp_path: Path, write_spec: Callable, capfd
) -> None:
    path = write_spec(tmp_path / "d.yaml", source=processed(web, zip_of(BIRDS)), expected=EXPECTED)
    (tmp_path / ".out.unfinished").mkdir()
    (tmp_path / ".out.unfinished" / "a.jpg").touch()
    with locked_elsewhere(tmp_path / "archives" / "lock"):
        assert prepare(tmp_path, path) == 2
    assert "archives: in use by another process; wait for it or stop it" in error_of(capfd)
    assert (tmp_path / ".out.unfinished" / "a.jpg").exists()


def test_second_attempt_reuses_the_download(web, tmp_path: Path, write_spec: Callable, capfd) -> None:
    source = processed(web, zip_of(BIRDS))
    wrong = write_spec(tmp_path / "wrong.yaml", source=source, expected={"images": 4})
    assert prepare(tmp_path, wrong) == 2
    assert "wrong.yaml expects 4" in error_of(capfd)
    assert not (tmp_path / "out").exists()
    assert prepare(tmp_path, write_spec(tmp_path / "d.yaml", source=source, expected=EXPECTED)) == 0
    assert len(web.files["birds.zip"].requested_ranges) == 1


def test_archive_of_another_url_is_replaced_once_the_url_is_corrected(
    web, tmp_path: Path, write_spec: Callable
) -> None:
    source = processed(web, zip_of(BIRDS[:2]))
    assert prepare(tmp_path, write_spec(tmp_path / "d.yaml", source=source, expected=EXPECTED)) == 2
    web.files["corrected/birds.zip"] = ServedFile(zip_of(BIRDS))
    source["processed"]["files"][0]["url"] = web.url_of("corrected/birds.zip")
    assert prepare(tmp_path, write_spec(tmp_path / "d.yaml", source=source, expected=EXPECTED)) == 0


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([name for name in BIRDS if "/1/" not in name], "2 class folders where .* names 3 classes"),
        (["birds/train/0/a.jpg"], "no folder 'test' here; found birds, birds/train"),
        (["../test/0/a.jpg"], "unsafe path"),
        (["birds/test/0/a.jpg", "birds/test/1/a.jpg", "birds/test/2/a.jpg"], r"without images are \[\]"),
    ],
)
def test_archive_that_does_not_match_the_spec_is_rejected(
    web, tmp_path: Path, write_spec: Callable, capfd, names, message
) -> None:
    path = write_spec(tmp_path / "d.yaml", source=processed(web, zip_of(names)), expected={"empty": [1]})
    assert prepare(tmp_path, path) == 2
    assert re.search(message, error_of(capfd))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["archives", "d.yaml"]


def test_web_page_instead_of_an_archive_is_rejected(web, tmp_path: Path, write_spec: Callable, capfd) -> None:
    path = write_spec(tmp_path / "d.yaml", source=processed(web, b"<html>moved</html>"))
    assert prepare(tmp_path, path) == 2
    assert "birds.zip: not an archive, but a web page" in error_of(capfd)


@pytest.mark.parametrize("damage", [lambda archive: archive[:-30], lambda archive: b"x" * len(archive)])
def test_damaged_download_is_compared_with_its_checksum(
    web, tmp_path: Path, write_spec: Callable, capfd, damage: Callable
) -> None:
    archive = zip_of(BIRDS)
    source = processed(web, archive)
    expected = hashlib.sha256(archive).hexdigest()
    source["processed"]["files"][0]["checksum"] = f"sha256:{expected}"
    (tmp_path / "archives").mkdir()
    (tmp_path / "archives" / "birds.zip").write_bytes(damage(archive))
    assert prepare(tmp_path, write_spec(tmp_path / "d.yaml", source=source, expected=EXPECTED)) == 2
    message = error_of(capfd)
    actual = hashlib.sha256(damage(archive)).hexdigest()
    assert "birds.zip" in message
    assert f"its sha256 is {actual}, expected {expected}: delete the file" in message


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({}, "'source.processed' is missing; the distributions are: none"),
        ({"official": {"layout": "gtsrb"}}, "is missing; the distributions are: official"),
        ({"processed": {"layout": "cifar"}}, "; give one of class_folders, flowers102"),
        ({"processed": {"layout": ["gtsrb"]}}, "; give one of class_folders, flowers102"),
        ({"processed": {"layout": "gtsrb", "files": None}}, "cannot be downloaded automatically"),
        ({"processed": {"layout": "gtsrb", "files": "a.zip"}}, "'source.processed.files' is 'a.zip'"),
        (None, "'source.processed' is missing; the distributions are: none"),
        ({"processed": {"layout": "gtsrb"}}, "cannot be downloaded automatically"),
        (
            {"processed": {"layout": "gtsrb", "files": [{"url": "ftp://a/b"}]}},
            "key 'source.processed.files[0].max_bytes' is missing; give the largest size",
        ),
        (
            {"processed": {"layout": "gtsrb", "files": [{"url": "ftp://a", "max_bytes": 1}]}},
            "files[0].url' is 'ftp://a'; give an http or https URL",
        ),
        (
            {
                "processed": {
                    "layout": "gtsrb",
                    "files": [{"url": "http://a/b", "max_bytes": 1, "into": "../x"}],
                }
            },
            "files[0].into' is '../x'; give a relative folder",
        ),
        (
            {"processed": {"layout": "gtsrb", "files": [{"url": "http://a/b/..", "max_bytes": 1}]}},
            "every URL needs a distinct file name",
        ),
        (
            {"processed": {"layout": "gtsrb", "files": [{"url": "http://a/b", "max_bytes": 1}] * 2}},
            "every URL needs a distinct file name; found b, b",
        ),
    ],
)
def test_invalid_source_is_reported(
    tmp_path: Path, write_spec: Callable, capfd, source: dict | None, message: str
) -> None:
    assert prepare(tmp_path, write_spec(tmp_path / "d.yaml", source=source)) == 2
    assert message in error_of(capfd)


def spec_with_counts(
    tmp_path: Path, name: str, images: int, empty: list[int], **split_counts: int | None
) -> Path:
    """A spec of config/datasets with the numbers of the few images that a test creates."""
    content = yaml.safe_load((SPECS / f"{name}.yaml").read_text())
    counts = {"train_images": None, "validation_images": None} | split_counts
    content["expected"] |= {"images": images, "empty": empty} | counts
    (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(content, allow_unicode=True))
    return tmp_path / f"{name}.yaml"


def labels(folder: Path, spec_path: Path) -> dict[str, int]:
    samples = LabeledFolder(load_spec(spec_path), folder).samples
    return {Path(path).name: label for path, label in samples}


def test_official_files_of_flowers102_are_converted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # torchvision verifies the MD5 of the .mat files, which generated ones cannot have.
    monkeypatch.setattr(Flowers102, "_check_integrity", lambda self: True)
    base = tmp_path / "local_files" / "flowers-102"
    (base / "jpg").mkdir(parents=True)
    for number in range(1, 8):
        (base / "jpg" / f"image_{number:05d}.jpg").write_bytes(image_bytes())
    savemat(base / "imagelabels.mat", {"labels": np.array([[77, 1, 102, 77, 2, 2, 9]])})
    savemat(base / "setid.mat", {"trnid": [[1, 2]], "valid": [[3, 7]], "tstid": [[4, 5, 6]]})
    empty = [label for label in range(102) if label not in (1, 76)]
    path = spec_with_counts(tmp_path, "flowers102", 3, empty, train_images=2, validation_images=2)
    assert prepare(tmp_path, path, "official", tmp_path / "local_files") == 0
    assert labels(tmp_path / "out", path) == {
        "image_00004.jpg": 76,
        "image_00005.jpg": 1,
        "image_00006.jpg": 1,
    }
    assert tree(tmp_path / "out" / "train") == ["000/image_00002.jpg", "076/image_00001.jpg"]
    assert tree(tmp_path / "out" / "validation") == ["008/image_00007.jpg", "101/image_00003.jpg"]


def test_official_archives_of_gtsrb_are_downloaded_and_converted(web, tmp_path: Path) -> None:
    table = io.StringIO()
    rows = csv.writer(table, delimiter=";")
    rows.writerows([["Filename", "Width", "ClassId"], ["00000.ppm", 12, 42], ["00001.ppm", 12, 9]])
    archives = {
        "train.zip": {
            f"GTSRB/Training/{label:05d}/00000_00000.ppm": image_bytes(form="PPM") for label in range(43)
        },
        "test.zip": {f"GTSRB/Final_Test/Images/0000{n}.ppm": image_bytes(form="PPM") for n in range(2)},
        "truth.zip": {"GT-final_test.csv": table.getvalue().encode()},
    }
    files = []
    for name, members in archives.items():
        content = io.BytesIO()
        with zipfile.ZipFile(content, "w") as archive:
            for member, data in members.items():
                archive.writestr(member, data)
        web.files[name] = ServedFile(content.getvalue())
        files.append({"url": web.url_of(name), "max_bytes": 100_000, "into": "gtsrb"})
    path = spec_with_counts(tmp_path, "gtsrb", 2, [label for label in range(43) if label not in (9, 42)])
    content = yaml.safe_load(path.read_text())
    content["source"]["official"]["files"] = files
    path.write_text(yaml.safe_dump(content))
    assert prepare(tmp_path, path, "official") == 0
    assert labels(tmp_path / "out", path) == {"00000.ppm": 42, "00001.ppm": 9}
    assert len(list((tmp_path / "out" / "train").rglob("*.ppm"))) == 43


def prepare_webdataset(tmp_path: Path, spec_path: Path, *options: str) -> int:
    folders = ["--archives", str(tmp_path / "archives"), "--out", str(tmp_path / "out")]
    with pytest.raises(SystemExit) as end:
        main(
            [
                "evaluate",
                "prepare-testset",
                "--spec",
                str(spec_path),
                "--source=webdataset",
                *folders,
                *options,
            ]
        )
    return end.value.code


def test_webdataset_folder_is_downloaded_converted_and_validated(
    web, tmp_path: Path, write_spec: Callable, capfd
) -> None:
    names = ["red", "emerald", "blue"]
    root = write_classification(tmp_path / "wds", names, ["a {c}."], test=[2, 0, 1], train=[1, 1])
    serve(web, root, "colors")
    source = {"webdataset": {"url": web.url_of("colors"), "max_bytes": 100_000}}
    expected = {"images": 3, "train_images": 2, "empty": []}
    path = write_spec(tmp_path / "d.yaml", source=source, expected=expected, train="train")
    assert prepare_webdataset(tmp_path, path) == 0
    assert "3 test images of 3 classes, as expected" in capfd.readouterr().out
    assert labels(tmp_path / "out", path) == {
        "00000_0000000.png": 2,
        "00000_0000001.png": 0,
        "00001_0000002.png": 1,
    }
    assert LabeledFolder(load_spec(path), tmp_path / "out", "train").targets == [1, 1]
    (tmp_path / "out").rename(tmp_path / "ours")
    assert prepare_webdataset(tmp_path, path, "--prompts=webdataset", "--splits=test") == 0
    ((spec, folder),) = load_specs([(path, tmp_path / "out")])
    assert (spec.class_names(folder), spec.prompt_templates()) == (names, ["a {}."])
    assert not (tmp_path / "out" / "train").exists()
    assert len(web.files["colors/test/0.tar"].requested_ranges) == 1


def test_webdataset_folder_that_does_not_match_the_spec_is_rejected(
    tmp_path: Path, write_spec: Callable, capfd
) -> None:
    root = write_classification(tmp_path / "wds", ["red", "green", "blue"], ["a {c}."], test=[2, 0])
    path = write_spec(tmp_path / "d.yaml", expected={"images": 3})
    assert prepare_webdataset(tmp_path, path) == 2
    assert "'source.webdataset' is missing, because no public copy is known; give" in error_of(capfd)
    assert prepare_webdataset(tmp_path, path, "--local-files", str(root)) == 2
    assert "2 images where" in error_of(capfd)
    (root / "test" / "nshards.txt").unlink()
    assert prepare_webdataset(tmp_path, path, "--local-files", str(root)) == 2
    assert "wds/test: no nshards.txt; write the number" in error_of(capfd)
    assert not (tmp_path / "out").exists()
    options = ["--out", str(tmp_path / "out"), "--archives", str(tmp_path), "--prompts=webdataset"]
    with pytest.raises(SystemExit):
        main(["evaluate", "prepare-testset", "--spec", str(path), "--source=official", *options])
    assert "--prompts=webdataset: only --source=webdataset has its own" in error_of(capfd)


def test_official_archive_of_country211_is_downloaded_and_converted(web, tmp_path: Path) -> None:
    codes = yaml.safe_load((SPECS / "country211.yaml").read_text())["folders"]
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as archive:
        for split in ("train", "valid", "test"):
            for code in codes:
                member = tarfile.TarInfo(f"country211/{split}/{code}/{split}.jpg")
                member.size = len(image_bytes())
                archive.addfile(member, io.BytesIO(image_bytes()))
    web.files["country211.tgz"] = ServedFile(content.getvalue())
    path = spec_with_counts(tmp_path, "country211", 211, [])
    changed = yaml.safe_load(path.read_text())
    file = {"url": web.url_of("country211.tgz"), "max_bytes": 1_000_000}
    changed["source"]["official"]["files"] = [file]
    path.write_text(yaml.safe_dump(changed, allow_unicode=True))
    assert prepare(tmp_path, path, "official") == 0
    assert sorted(path.name for path in (tmp_path / "out" / "test").iterdir()) == codes
    assert tree(tmp_path / "out" / "train" / "NO") == ["train.jpg"]
    assert tree(tmp_path / "out" / "validation" / "NO") == ["valid.jpg"]


def test_official_files_of_stanford_cars_are_converted(tmp_path: Path) -> None:
    base = tmp_path / "local_files" / "stanford_cars"
    for folder in ("cars_train", "cars_test", "devkit"):
        (base / folder).mkdir(parents=True)
    kind = [("fname", "O"), ("class", "O")]
    for split, table in {
        "train": base / "devkit" / "cars_train_annos.mat",
        "test": base / "cars_test_annos_withlabels.mat",
    }.items():
        for number in (1, 2):
            (base / f"cars_{split}" / f"0000{number}.jpg").write_bytes(image_bytes())
        rows = np.array([("00001.jpg", 196), ("00002.jpg", 1)], dtype=kind)
        savemat(table, {"annotations": rows})
    savemat(base / "devkit" / "cars_meta.mat", {"class_names": np.array(["a", "b"], dtype=object)})
    path = spec_with_counts(tmp_path, "stanford_cars", 2, list(range(1, 195)))
    assert prepare(tmp_path, path, "official", tmp_path / "local_files") == 0
    assert labels(tmp_path / "out", path) == {"00001.jpg": 195, "00002.jpg": 0}


@pytest.mark.parametrize("name", ["flowers102", "gtsrb", "country211", "stanford_cars", "ucf101"])
def test_unrelated_local_files_are_rejected(tmp_path: Path, capfd, name: str) -> None:
    (tmp_path / "local_files" / "something").mkdir(parents=True)
    assert prepare(tmp_path, SPECS / f"{name}.yaml", "official", tmp_path / "local_files") == 2
    assert "local_files: not the official files of" in error_of(capfd)
    assert not (tmp_path / "out").exists()


def write_video(path: Path, frames: int, codec: str = "mpeg4") -> None:
    """Write a video whose frame n has the brightness 8 n."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=Fraction(25))
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.bit_rate, stream.gop_size = 8_000_000, 1
        for number in range(frames):
            pixels = np.full((48, 64, 3), 8 * number, dtype=np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode(None))


@pytest.mark.parametrize("frames", [1, 2, 7, 24])
def test_middle_frame_is_frame_n_over_2(tmp_path: Path, frames: int) -> None:
    write_video(tmp_path / "v.avi", frames)
    level = np.asarray(middle_frame(tmp_path / "v.avi")).mean()
    assert level == pytest.approx(8 * (frames // 2), abs=3)


def test_official_videos_of_ucf101_are_converted_to_middle_frames(tmp_path: Path, capfd) -> None:
    root = tmp_path / "local_files"
    path = spec_with_counts(tmp_path, "ucf101", 101, [], train_images=1)
    names = [f"{name}/v_{n}.avi" for n, name in enumerate(yaml.safe_load(path.read_text())["folders"])]
    for number, name in enumerate(names[:3]):
        write_video(root / "UCF-101" / name, 5 + 4 * number)
    source = root / "UCF-101" / names[0]
    for name in names[3:]:
        (root / "UCF-101" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "UCF-101" / name).write_bytes(source.read_bytes())
    (root / "ucfTrainTestlist").mkdir()
    (root / "ucfTrainTestlist" / "trainlist01.txt").write_text(f"{names[1]} 2\n")
    (root / "ucfTrainTestlist" / "testlist01.txt").write_text("\r\n".join(names) + "\r\n")
    assert prepare(tmp_path, path, "official", root) == 0, capfd.readouterr().err
    assert len(tree(tmp_path / "out" / "test")) == 101
    assert tree(tmp_path / "out" / "train") == [names[1].replace(".avi", ".png")]
    for number, name in enumerate(names[:3]):
        with Image.open(tmp_path / "out" / "test" / name.replace(".avi", ".png")) as frame:
            assert np.asarray(frame).mean() == pytest.approx(8 * ((5 + 4 * number) // 2), abs=3)


@pytest.mark.parametrize(
    ("content", "message"), [(None, "1 of 1 videos are missing"), (b"text", "not a readable video")]
)
def test_missing_or_unreadable_video_is_reported(
    tmp_path: Path, capfd, content: bytes | None, message: str
) -> None:
    root = tmp_path / "local_files"
    (root / "ucfTrainTestlist").mkdir(parents=True)
    (root / "ucfTrainTestlist" / "trainlist01.txt").write_text("A/v.avi 1\n")
    (root / "UCF-101" / "A").mkdir(parents=True)
    if content:
        (root / "UCF-101" / "A" / "v.avi").write_bytes(content)
    assert prepare(tmp_path, SPECS / "ucf101.yaml", "official", root) == 2
    error = error_of(capfd)
    assert message in error
    assert "v.avi" in error


def gtsrb_local_files(root: Path, folders: list[str], images: int = 1) -> Path:
    """GTSRB's official files: `images` training images per folder, one test image of class 0."""
    base = root / "gtsrb"
    for folder in folders:
        (base / "GTSRB" / "Training" / folder).mkdir(parents=True)
        for number in range(images):
            path = base / "GTSRB" / "Training" / folder / f"00000_{number:05d}.ppm"
            path.write_bytes(image_bytes(form="PPM"))
    (base / "GTSRB" / "Final_Test" / "Images").mkdir(parents=True)
    (base / "GTSRB" / "Final_Test" / "Images" / "00000.ppm").write_bytes(image_bytes(form="PPM"))
    (base / "GT-final_test.csv").write_text("Filename;Width;ClassId\n00000.ppm;12;0\n")
    return root


def test_other_edition_of_gtsrb_training_images_is_rejected(tmp_path: Path, capfd) -> None:
    root = gtsrb_local_files(tmp_path / "local_files", [f"{label:05d}" for label in range(43)], images=2)
    path = spec_with_counts(tmp_path, "gtsrb", 1, list(range(1, 43)), train_images=43)
    assert prepare(tmp_path, path, "official", root) == 2
    assert "gtsrb.yaml expects 43" in error_of(capfd)
    assert not (tmp_path / "out").exists()


def test_missing_training_class_of_gtsrb_is_rejected(tmp_path: Path, capfd) -> None:
    root = gtsrb_local_files(tmp_path / "local_files", [f"{label:05d}" for label in range(43) if label != 7])
    path = spec_with_counts(tmp_path, "gtsrb", 1, [])
    content = yaml.safe_load(path.read_text())
    content["expected"]["empty"] = None
    path.write_text(yaml.safe_dump(content))
    assert prepare(tmp_path, path, "official", root) == 2
    assert "1 of the 43 class folders are missing ('7')" in error_of(capfd)


@pytest.mark.parametrize("location", ["", "00000"])
def test_leftovers_in_official_files_are_ignored(tmp_path: Path, location: str) -> None:
    root = gtsrb_local_files(tmp_path / "local_files", [f"{label:05d}" for label in range(43)])
    training = root / "gtsrb" / "GTSRB" / "Training" / location
    (training / ".ipynb_checkpoints").mkdir()
    (training / ".ipynb_checkpoints" / "1-checkpoint.ppm").write_bytes(image_bytes(form="PPM"))
    (training / "._00000_00000.ppm").write_bytes(b"resource fork")
    path = spec_with_counts(tmp_path, "gtsrb", 1, list(range(1, 43)), train_images=43)
    assert prepare(tmp_path, path, "official", root) == 0
    folder = LabeledFolder(load_spec(path), tmp_path / "out", "train")
    assert folder.targets == list(range(43))
    assert not list((tmp_path / "out").rglob(".*"))


def test_leftovers_in_an_archive_are_ignored(web, tmp_path: Path, write_spec: Callable, capfd) -> None:
    leftovers = [".DS_Store", "test/.DS_Store", "test/0/._a.jpg", "test/@eaDir/a.jpg", "test/0/Thumbs.db"]
    leftovers += ["test/2/.ipynb_checkpoints/a-checkpoint.jpg", "test/lost+found/x.jpg", "test/desktop.ini"]
    archive = zip_of([*BIRDS, *(f"birds/{name}" for name in leftovers), "__MACOSX/birds/test/0/._a.jpg"])
    path = write_spec(tmp_path / "d.yaml", source=processed(web, archive), expected=EXPECTED)
    assert prepare(tmp_path, path) == 0, error_of(capfd)
    assert tree(tmp_path / "out") == ["test/0/a.jpg", "test/0/b.jpg", "test/2/a.jpg"]


@pytest.mark.parametrize("leftover", ["test/2/b.jpg.part", "test/2/.old/b.jpg"])
@pytest.mark.parametrize("expected", [EXPECTED | {"images": None}, EXPECTED | {"images": 4}])
def test_incomplete_or_hidden_image_in_an_archive_is_reported(
    web, tmp_path: Path, write_spec: Callable, capfd, leftover: str, expected: dict
) -> None:
    source = processed(web, zip_of([*BIRDS, f"birds/{leftover}"]))
    path = write_spec(tmp_path / "d.yaml", source=source, expected=expected)
    assert prepare(tmp_path, path) == 2
    assert "/".join(leftover.split("/")[1:3]) in error_of(capfd)
    assert not (tmp_path / "out").exists()
