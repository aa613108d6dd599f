"""`cloob evaluate image-text`: the content of both result files, and when they are recomputed."""

import io
import json
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from PIL import Image

from cloob.cli import main
from cloob.metrics.embeddings import effective_eigenvalues
from cloob.metrics.retrieval import retrieval_metrics
from cloob.models.load import load_model
from tests.helpers.captioned_shards import shards_of, shards_of_images
from tests.helpers.webdataset_folders import image as jpeg_image
from tests.helpers.webdataset_folders import write_retrieval

PAIRS = [(9, "one"), (1, "two dogs"), (9, "a much longer caption"), (5, "four"), (7, "five cats")]


def evaluate(
    checkpoint: Path,
    out: Path,
    *pairs: str,
    titles: tuple[str, ...] = ("CC validation",),
    more: Sequence[str] = (),
) -> int:
    options = ["--device", "cpu", "--batch-size", "3", "--feature-cache", str(out.parent / "features")]
    options += ["--retrieval-dir", str(out / "retrieval"), "--structure-dir", str(out / "structure")]
    with pytest.raises(SystemExit) as end:
        main(
            ["evaluate", "image-text", "--checkpoint", str(checkpoint), *options]
            + [f"--pairs={pair}" for pair in pairs]
            + [f"--title={title}" for title in titles]
            + [*more]
        )
    return end.value.code


def result(out: Path, protocol: str) -> dict:
    return json.loads((out / protocol / "cc3m_validation.json").read_text())


def test_result_files_contain_the_metrics_of_the_embeddings(checkpoint: Path, tmp_path: Path) -> None:
    shards = shards_of(tmp_path / "shards", PAIRS)
    assert evaluate(checkpoint, tmp_path / "out", f"cc3m_validation={shards.path}") == 0
    retrieval, structure = (result(tmp_path / "out", protocol) for protocol in ("retrieval", "structure"))
    model = load_model(checkpoint)
    with torch.inference_mode():
        text = torch.cat(
            [model.encode_text(model.tokenizer([caption]), normalize=True) for _, caption in PAIRS]
        )
        pixels = [shards.sample(index)[0] for index in (0, 1, 3, 4)]
        image = torch.cat([embed(model, content) for content in pixels])
    assert retrieval["metrics"] == pytest.approx(
        retrieval_metrics(image, text, torch.tensor([0, 1, 0, 2, 3]))
    )
    for file, protocol in ((retrieval, "retrieval"), (structure, "embedding_structure")):
        assert (file["run"], file["epoch"], file["protocol"]) == (model.metadata["run"], 3, protocol)
        assert (file["dataset"], file["title"]) == ("cc3m_validation", "CC validation")
        assert (file["images"], file["texts"]) == (4, 5)
        assert file["dataset_sha256"] == "of the content"
    assert len(structure["spectrum"]["image"]) == len(structure["spectrum"]["text"]) == 16
    spectrum = torch.tensor(structure["spectrum"]["text"], dtype=torch.float64)
    assert structure["metrics"]["effective_eigenvalues_text"] == effective_eigenvalues(spectrum) <= 4
    assert sum(structure["similarities"]["matched"]) == 5


def embed(model: torch.nn.Module, content: bytes) -> torch.Tensor:
    return model.encode_image(model.preprocess(Image.open(io.BytesIO(content)))[None], normalize=True)


CAPTIONS = [["a dog", "two dogs", "dogs"], ["a bird"], ["a red house", "the hut"], ["five cats", "cats"]] * 3


def test_every_format_of_a_retrieval_set_gives_the_recalls_of_the_standard_protocol(
    checkpoint: Path, tmp_path: Path
) -> None:
    captions = [[f"{text} {number}" for text in texts] for number, texts in enumerate(CAPTIONS)]
    folder = write_retrieval(tmp_path / "wds", captions)
    images = [jpeg_image(number, "JPEG") for number in range(len(captions))]
    entries = []
    for number, (content, texts) in enumerate(zip(images, captions, strict=True)):
        (tmp_path / f"{number}.jpg").write_bytes(content)
        sentences = [{"raw": text} for text in texts]
        entries.append({"filename": f"{number}.jpg", "split": "val", "sentences": sentences})
    (tmp_path / "karpathy.json").write_text(json.dumps({"images": entries}))
    shards = shards_of_images(
        tmp_path / "shards",
        [(content, text) for content, texts in zip(images, captions, strict=True) for text in texts],
    )
    pairs = [f"wds={folder}", f"karpathy={tmp_path / 'karpathy.json'}", f"shards={shards.path}"]
    titles = ("a", "b", "c")
    assert evaluate(checkpoint, tmp_path / "out", *pairs, titles=titles, more=["--split=karpathy=val"]) == 0
    read = [
        json.loads((tmp_path / "out/retrieval" / f"{name.split('=')[0]}.json").read_text()) for name in pairs
    ]
    assert [(one["images"], one["texts"]) for one in read] == [(12, 24)] * 3
    assert read[0]["metrics"] == read[1]["metrics"] == read[2]["metrics"]
    model = load_model(checkpoint)
    with torch.inference_mode():
        image = torch.cat([embed(model, content) for content in images])
        texts = [text for one in captions for text in one]
        similarity = image @ model.encode_text(model.tokenizer(texts), normalize=True).T  # (images, texts)
    matches = torch.zeros_like(similarity, dtype=torch.bool)
    matches[[number for number, one in enumerate(captions) for _ in one], range(24)] = True
    for k in (1, 5, 10):  # an image is right if any of its captions is among the k nearest
        to_text = matches.gather(1, similarity.topk(k, dim=1).indices).any(dim=1).double().mean()
        to_image = matches.T.gather(1, similarity.T.topk(k, dim=1).indices).any(dim=1).double().mean()
        assert read[0]["metrics"][f"image_to_text_r{k}"] == to_text
        assert read[0]["metrics"][f"text_to_image_r{k}"] == to_image


def test_up_to_date_files_are_kept_and_others_are_recomputed(checkpoint: Path, tmp_path: Path) -> None:
    shards = shards_of(tmp_path / "shards", PAIRS)
    out = tmp_path / "out"
    assert evaluate(checkpoint, out, f"cc3m_validation={shards.path}") == 0
    path, other = (out / protocol / "cc3m_validation.json" for protocol in ("retrieval", "structure"))
    before = path.stat().st_mtime_ns
    content = other.read_bytes()
    other.write_text("{")
    assert evaluate(checkpoint, out, f"cc3m_validation={shards.path}") == 0
    assert path.stat().st_mtime_ns == before
    assert other.read_bytes() == content
    shards_of(tmp_path / "shards", PAIRS[:4], sha256="another")
    assert evaluate(checkpoint, out, f"cc3m_validation={shards.path}") == 0
    assert result(out, "retrieval")["texts"] == result(out, "structure")["texts"] == 4


def test_set_with_one_image_is_rejected_by_name_before_any_is_evaluated(
    checkpoint: Path, tmp_path: Path, capfd
) -> None:
    several = shards_of(tmp_path / "several", PAIRS)
    single = shards_of(tmp_path / "single", [(9, "one"), (9, "two")])
    pairs = f"a={several.path}", f"b={single.path}"
    assert evaluate(checkpoint, tmp_path / "out", *pairs, titles=("A", "B")) == 2
    assert f"{single.path}: b has one image, but retrieval" in capfd.readouterr().err
    assert not (tmp_path / "out").exists()


def test_corrupted_image_is_reported(checkpoint: Path, tmp_path: Path, capfd) -> None:
    shards = shards_of(tmp_path / "shards", PAIRS)
    tar = shards.tars[0]
    content = bytearray(tar.read_bytes())
    start = content.index(shards.sample(1)[0])
    content[start : start + 400] = bytes(400)
    tar.write_bytes(content)
    assert evaluate(checkpoint, tmp_path / "out", f"cc3m_validation={shards.path}") == 2
    assert (
        f"{tar}: changed after packing: the image of sample 000001 differs from the index"
        in capfd.readouterr().err
    )
    assert not (tmp_path / "out").exists()


def test_options_of_an_unknown_retrieval_set_are_rejected(checkpoint: Path, tmp_path: Path, capfd) -> None:
    for option in ("images", "split"):
        assert evaluate(checkpoint, tmp_path, "a=shards.json", more=[f"--{option}=b=x"]) == 2
        assert f"--{option}: b not among --pairs; correct the name" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("pairs", "titles", "message"),
    [
        (("cc3m_validation",), ("a",), "not of the form NAME=PATH"),
        (("a=missing/shards.json",), ("a", "b"), "2 titles for 1 --pairs"),
        (("a=missing/shards.json",), ("a",), "missing/shards.json: no such file"),
        (("a=one/shards.json", "a=two/shards.json"), ("a", "b"), "duplicate name among a, a"),
    ],
)
def test_invalid_arguments_are_rejected(
    checkpoint: Path, tmp_path: Path, capfd, pairs: tuple, titles: tuple, message: str
) -> None:
    assert evaluate(checkpoint, tmp_path / "out", *pairs, titles=titles) == 2
    assert message in capfd.readouterr().err
