"""`cloob classify`, `search` and `export`: their output, and one-line errors."""

import errno
import json
import os
from pathlib import Path

import open_clip
import pytest
import torch
import yaml
from PIL import Image

import cloob
from cloob.cli import main
from tests.helpers.tiny_runs import save_tiny_run

RUN = Path("results/train/cc3m-cloob-RN50-cc3m-seed1")


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a finished run, images in subfolders, and files that are not images."""
    folder = tmp_path_factory.mktemp("inference")
    save_tiny_run(folder / RUN)
    (folder / "photos" / "2024").mkdir(parents=True)
    for number in range(3):
        image = Image.effect_noise((90, 60), 30 + 40 * number).convert("RGB")
        image.save(folder / "photos" / ("2024" if number else "") / f"{number}.jpg")
    (folder / "photos" / "page.jpg").write_bytes(b"<html>404</html>")
    (folder / "photos" / ".hidden.jpg").write_bytes(b"")
    (folder / "photos" / "notes.txt").write_text("not an image")
    (folder / "empty").mkdir()
    return folder


@pytest.fixture(autouse=True)
def in_workspace(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(workspace)
    monkeypatch.setenv("XDG_CACHE_HOME", str(workspace / "cache"))


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """The exit status, output and errors of `cloob`, without worker processes unless `arguments` say so."""
    defaults = ["--workers=0"] if arguments[0] == "search" else []
    with pytest.raises(SystemExit) as ended:
        main([arguments[0], *defaults, *arguments[1:]])
    captured = capsys.readouterr()
    return int(ended.value.code or 0), captured.out, captured.err


def test_classify_prints_a_table_of_the_most_probable_labels(capsys) -> None:
    status, out, err = run(
        capsys, "classify", "photos/0.jpg", "photos/2024/1.jpg", "--labels", "a dog, a cat"
    )
    lines = out.splitlines()
    assert status == 0 and lines[0].split() == ["image", "label", "probability"]
    assert [line.split()[0] for line in lines if line.startswith("photos")] == [
        "photos/0.jpg",
        "photos/2024/1.jpg",
    ]
    assert len(lines) == 5 and lines[1].endswith("%")
    assert f"model: {RUN}/final.pt" in err  # the newest run is the default


def test_classify_as_json_agrees_with_the_python_interface(capsys) -> None:
    labels = ["a dog", "a cat", "a house"]
    options = ("--labels", ", ".join(labels), "--template", "a photo of {}.", "--json", "--model", str(RUN))
    status, out, _ = run(capsys, "classify", "photos/0.jpg", *options)
    content = json.loads(out)
    assert status == 0 and content["model"] == str(RUN)
    [expected] = cloob.load_model(RUN).classify("photos/0.jpg", labels, ["a photo of {}."])
    [image] = content["images"]
    assert {entry["label"]: entry["probability"] for entry in image["labels"]} == pytest.approx(expected)
    assert [entry["probability"] for entry in image["labels"]] == sorted(expected.values(), reverse=True)


def test_search_ranks_images_and_embeds_each_only_once(capsys, workspace: Path) -> None:
    arguments = ("search", "photos", "a dog", "--json", "--model", f"{RUN}/final.pt")
    status, first, err = run(capsys, *arguments)
    assert status == 0 and "embedding photos" in err and "1 images left out" in err
    content = json.loads(first)
    assert sorted(entry["image"] for entry in content["images"]) == [
        *("photos/0.jpg", "photos/2024/1.jpg", "photos/2024/2.jpg")
    ]
    assert list(content["unreadable"]) == ["page.jpg"]
    model = cloob.load_model(RUN)
    with torch.inference_mode():
        pixels = model.preprocess(Image.open(content["images"][0]["image"]))
        image = model.encode_image(pixels[None], normalize=True)
        text = model.encode_text(model.tokenizer(["a dog"]), normalize=True)
    assert content["images"][0]["similarity"] == pytest.approx(float(image @ text.T), abs=1e-5)

    _, second, err = run(capsys, *arguments)
    assert "| 1/1" in err  # only the unreadable image is tried again
    assert json.loads(second) == content


def test_damaged_cache_is_computed_again(capsys, workspace: Path) -> None:
    arguments = ("search", "photos", "a cat", "--json", "--cache", "own")
    _, first, _ = run(capsys, *arguments)
    [part] = (workspace / "own").rglob("*.safetensors")
    part.write_bytes(part.read_bytes()[:100])
    status, second, err = run(capsys, *arguments)
    assert status == 0 and "is damaged" in err and json.loads(second) == json.loads(first)


def test_broken_links_and_files_that_are_not_images_are_left_out(
    capsys, tmp_path: Path, workspace: Path
) -> None:
    (tmp_path / "deep").mkdir()
    image = (workspace / "photos" / "0.jpg").read_bytes()
    (tmp_path / "deep" / "whole.jpg").write_bytes(image)
    (tmp_path / "truncated.jpg").write_bytes(image[: len(image) // 2])
    (tmp_path / "empty.jpg").touch()
    Image.new("1", (10_000, 10_000)).save(tmp_path / "bomb.png")
    for name, size in (("tall", (1, 10_000_000)), ("wide", (65_535, 2))):
        Image.new("1", size).save(tmp_path / f"{name}.png")
    (tmp_path / "deep" / "cycle").symlink_to(tmp_path)
    (tmp_path / "deep" / "cycle.jpg").symlink_to(tmp_path)  # a folder
    (tmp_path / "itself.jpg").symlink_to("itself.jpg")
    (tmp_path / "dangling.jpg").symlink_to("nowhere.jpg")
    os.mkfifo(tmp_path / "pipe.jpg")
    status, out, _ = run(capsys, "search", str(tmp_path), "a dog", "--json")
    content = json.loads(out)
    reasons = {name: reason.rpartition(f"{name}: ")[2] for name, reason in content["unreadable"].items()}
    assert status == 0
    assert [entry["image"] for entry in content["images"]] == [f"{tmp_path}/deep/whole.jpg"]
    assert reasons.pop("bomb.png").startswith("not a readable image (more than 89478485 pixels")
    assert reasons.pop("tall.png").startswith(
        "not a readable image (1 × 10000000 pixels: more than 200 times"
    )
    assert reasons.pop("wide.png").startswith("not a readable image (65535 × 2 pixels: more than 200 times")
    assert reasons.pop("itself.jpg").startswith("Too many levels of symbolic links; ")
    assert reasons.pop("dangling.jpg") == "No such file or directory; check the path"
    assert all(reason.startswith("not a readable image (") for reason in reasons.values())
    assert set(reasons) == {"truncated.jpg", "empty.jpg"}


def test_worker_processes_find_the_same_as_none(capsys, tmp_path: Path, workspace: Path) -> None:
    """More batches than one, with hostile files in each."""
    images = tmp_path / "images"
    images.mkdir()
    for number in range(40):
        Image.new("RGB", (32, 32), (6 * number, 90, 200 - 5 * number)).save(images / f"{number:02d}.png")
    content = (workspace / "photos" / "0.jpg").read_bytes()
    for number in (3, 17, 35):
        (images / f"{number:02d}_truncated.jpg").write_bytes(content[: len(content) // 2])
    Image.new("1", (1, 10_000_000)).save(images / "20_tall.png")
    arguments = ("search", str(images), "a dog", "--json", "--top=40")
    status, without, _ = run(capsys, *arguments, f"--cache={tmp_path}/without")
    assert status == 0
    status, with_workers, _ = run(capsys, *arguments, "--workers=2", f"--cache={tmp_path}/with")
    assert status == 0 and with_workers == without
    assert len(json.loads(without)["unreadable"]) == 4


def test_deleted_and_changed_images_are_not_found_with_their_old_embeddings(
    capsys, tmp_path: Path, workspace: Path
) -> None:
    """The cache has embeddings of all of them."""
    for number, source in enumerate(("0.jpg", "2024/1.jpg", "2024/2.jpg")):
        (tmp_path / f"{number}.jpg").write_bytes((workspace / "photos" / source).read_bytes())
    arguments = ("search", str(tmp_path), "a dog", "--json")
    before = _similarities(run(capsys, *arguments)[1])
    (tmp_path / "0.jpg").unlink()
    (tmp_path / "1.jpg").write_bytes((tmp_path / "2.jpg").read_bytes())
    _, out, err = run(capsys, *arguments)
    assert "| 1/1" in err
    assert _similarities(out) == {name: pytest.approx(before["2.jpg"]) for name in ("1.jpg", "2.jpg")}


def test_the_embeddings_of_another_image_transform_are_not_found_in_the_cache(capsys, tmp_path: Path) -> None:
    run(capsys, "export", str(RUN), f"--out={tmp_path}/model")
    arguments = ("search", "photos", "a dog", "--json", f"--model={tmp_path}/model", f"--cache={tmp_path}")
    before = _similarities(run(capsys, *arguments)[1])
    config = json.loads((tmp_path / "model" / "open_clip_config.json").read_text())
    config["preprocess_cfg"]["mean"] = [0, 0, 0]
    (tmp_path / "model" / "open_clip_config.json").write_text(json.dumps(config))
    after = _similarities(run(capsys, *arguments)[1])
    assert before.keys() == after.keys() and before != after


def _similarities(out: str) -> dict[str, float]:
    return {Path(entry["image"]).name: entry["similarity"] for entry in json.loads(out)["images"]}


@pytest.mark.parametrize("command", ["classify photos/0.jpg --labels a,b", "search photos dog"])
@pytest.mark.parametrize("projection", ["visual.attnpool.c_proj.weight", "text_projection"])
@pytest.mark.parametrize("scale", [0, 1e25])
def test_embeddings_without_a_direction_are_errors(
    capsys, tmp_path: Path, command: str, projection: str, scale: float
) -> None:
    """Zero, or so large that their squares are infinite: all cosines would be 0."""
    content = torch.load(RUN / "final.pt", weights_only=True)
    for name in {projection, projection.replace("weight", "bias")}:
        content["state_dict"][name] *= scale
    torch.save(content, tmp_path / "damaged.pt")
    status, out, err = run(capsys, *command.split(), f"--model={tmp_path}/damaged.pt")
    assert status == 2 and out == ""
    assert err.splitlines()[-1].endswith(
        "error: an embedding is zero or not finite: training diverged, or the weights are damaged"
    )


def test_export_is_a_folder_that_open_clip_loads(capsys, workspace: Path) -> None:
    status, out, _ = run(capsys, "export", str(RUN), "--model-card")
    folder = workspace / "results" / "export" / RUN.name
    assert status == 0
    assert out.endswith(": README.md, open_clip_config.json, open_clip_model.safetensors\n")
    exported, preprocess = open_clip.create_model_from_pretrained(f"local-dir:{folder}")
    model = cloob.load_model(RUN)
    image = Image.open("photos/0.jpg")
    with torch.inference_mode():
        torch.testing.assert_close(
            exported.eval().encode_image(preprocess(image)[None]),
            model.encode_image(model.preprocess(image)[None]),
        )
    header = yaml.safe_load((folder / "README.md").read_text().split("---")[1])
    assert header["library_name"] == "open_clip" and header["license"] == "mit"


@pytest.fixture
def early(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A checkpoint after 10 epochs, of a run in the current folder."""
    monkeypatch.chdir(tmp_path)
    save_tiny_run(RUN)
    content = torch.load(RUN / "final.pt", weights_only=True)
    content["state_dict"]["logit_scale"] -= 1
    (RUN / "checkpoints").mkdir()
    torch.save(content | {"epoch": 10}, RUN / "checkpoints" / "epoch_0010.pt")
    return f"{RUN}/checkpoints/epoch_0010.pt"


def test_an_early_checkpoint_is_exported_to_a_folder_of_its_own(capsys, early: str) -> None:
    for model in (str(RUN), f"{RUN}/final.pt", f"{RUN}/open_clip", early):
        assert run(capsys, "export", model)[0] == 0
    folders = sorted(path.name for path in Path("results/export").iterdir())
    assert folders == [RUN.name, f"{RUN.name}-epoch_0010"]


def test_a_model_card_does_not_stay_beside_other_weights(
    capsys, early: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    readme = Path("out/README.md")
    run(capsys, "export", str(RUN), "--model-card", "--out=out")
    run(capsys, "export", str(RUN), "--out=out")
    assert "| Epochs | 31 |" in readme.read_text()
    run(capsys, "export", early, "--out=out")
    assert not readme.exists()
    readme.write_text("my own text")
    run(capsys, "export", str(RUN), "--out=out")
    assert readme.read_text() == "my own text"

    def disk_full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    run(capsys, "export", str(RUN), "--model-card", "--out=out")
    monkeypatch.setattr("cloob.models.export.save_file", disk_full)
    status, _, err = run(capsys, "export", early, "--model-card", "--out=out")
    assert status == 2 and "No space left" in err and not readme.exists()


def test_a_model_card_of_an_export_is_an_error_that_names_the_run(capsys, workspace: Path) -> None:
    status, _, err = run(capsys, "export", f"{RUN}/open_clip", "--model-card", "--out=other")
    assert status == 2 and not Path("other").exists()
    message = f"{RUN}/open_clip is an export, which has no record of its training; give {workspace / RUN}\n"
    assert err.endswith(f"--model-card: {message}")


ERRORS = {
    "classify none.jpg --labels a,b": "none.jpg: no such file; give image files",
    "classify photos --labels a,b": "photos: a folder; give image files",
    "classify photos/page.jpg --labels a,b": "photos/page.jpg: not a readable image",
    "classify photos/0.jpg --labels a": "one label; give at least two",
    "classify photos/0.jpg --labels a,,b": "a label is empty",
    "classify photos/0.jpg --labels a,b,a": "'a' is given twice",
    "classify photos/0.jpg --labels a,b --template x": "'x' has no {}",
    "classify photos/0.jpg --labels a,b --model photos/0.jpg": "photos/0.jpg: damaged or not a checkpoint",
    "classify photos/0.jpg --labels a,b --model none.pt": "none.pt: no such checkpoint",
    "classify photos/0.jpg --labels a,b --model empty": "empty: neither a finished run",
    "search none dog": "none: no such folder",
    "search photos/0.jpg dog": "photos/0.jpg: not a folder",
    "search empty dog": "empty: no images with a known suffix",
    "search photos _": "QUERY: empty",
    "export empty": "--out: give the output folder, because empty is not the folder of a run",
    "export photos --model-card --out out": "--model-card: photos is not a run",
    f"export {RUN} --out photos/0.jpg": "photos/0.jpg: not a folder",
}


@pytest.mark.parametrize("command", ERRORS)
def test_wrong_arguments_are_one_line_errors(command: str, capsys) -> None:
    status, out, err = run(capsys, *(word.replace("_", " ") for word in command.split()))
    [*_, message] = err.splitlines()
    assert status == 2 and out == ""
    assert message.startswith(f"cloob {command.split(maxsplit=1)[0]}: error: ") and ERRORS[command] in message


def test_without_a_run_the_model_has_to_be_given(capsys, tmp_path: Path, monkeypatch) -> None:
    image = str(Path("photos/0.jpg").resolve())
    monkeypatch.chdir(tmp_path)
    status, _, err = run(capsys, "classify", image, "--labels", "a, b")
    assert status == 2 and "--model: there is no trained run below results/; give a checkpoint" in err
