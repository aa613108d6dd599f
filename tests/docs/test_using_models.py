"""The Python examples of docs/using-models.md and of the README run on a tiny model, as they are shown."""

from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

import cloob
from tests.helpers.doc_examples import blocks_below, read_blocks
from tests.helpers.repository import ROOT
from tests.helpers.tiny_runs import save_tiny_run

PAGE = ROOT / "docs" / "using-models.md"
RUN = Path("results/train/cc3m-cloob-RN50-cc3m-seed1")
DEMO_RUN = Path("results/demo/train/cc3m-cloob-RN_small-cc3m_small-seed1")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a finished run and a photo, as the current one."""
    monkeypatch.chdir(tmp_path)
    save_tiny_run(RUN)
    bands = [Image.effect_noise((90, 60), 60 + 20 * band) for band in range(3)]
    Image.merge("RGB", bands).save("photo.jpg")
    return tmp_path


def execute(code: str, names: dict[str, Any]) -> None:
    exec(compile(code, "example", "exec"), names)  # noqa: S102


def test_examples_of_the_page_run_one_after_another(folder: Path, capsys: pytest.CaptureFixture) -> None:
    names: dict[str, Any] = {}
    for block in read_blocks(PAGE):
        if block.language == "python":
            execute(block.code, names)
    printed = capsys.readouterr().out
    assert "cc3m-cloob-RN50-cc3m-seed1 epoch 31" in printed
    assert "a photo of a cat" in printed
    assert "prediction: " in printed and "most probable: " in printed
    assert names["similarities"].shape == (3,)
    torch.testing.assert_close(names["weights"].norm(dim=1), torch.ones(3))


def test_example_of_the_readme_prints_similarities(folder: Path, capsys: pytest.CaptureFixture) -> None:
    [block] = blocks_below(ROOT / "README.md", "Use a model")
    assert len(block.code.splitlines()) <= 10
    save_tiny_run(DEMO_RUN)
    execute(block.code, {})
    printed = capsys.readouterr().out
    assert printed.startswith("[{'a ") and "tensor([[" in printed


def test_checkpoint_and_export_give_the_same_embeddings(folder: Path) -> None:
    checkpoint, export = (cloob.load_model(RUN / name) for name in ("final.pt", "open_clip"))
    pixels = checkpoint.preprocess(Image.open("photo.jpg"))
    assert torch.equal(pixels, export.preprocess(Image.open("photo.jpg")))
    with torch.inference_mode():
        ours, theirs = (model.encode_image(pixels[None], normalize=True) for model in (checkpoint, export))
    torch.testing.assert_close(ours, theirs)
