"""docs/your-corpus.md: captioned pictures in every form become shards, models and tables."""

import csv
import json
import re
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from cloob.toy_data.server import ToyDataServer
from tests.helpers.doc_examples import apply_to_checkout, blocks_below, read_blocks
from tests.helpers.fork_server import forking_python
from tests.helpers.repository import ROOT
from tests.helpers.scene_images import COPIES, scene_image
from tests.helpers.tiny_models import MODEL_CONFIG
from tests.helpers.webdataset_tars import write_tar

PAGE = ROOT / "docs" / "your-corpus.md"
TRAIN, VALIDATION = range(24), range(100, 108)
BREEDS = ("European robin", "Blue tit")
# Heading on the page -> name of a corpus.
FORMS = {
    "A table of URLs and captions": "from_urls",
    "A folder of webdataset tars": "from_tars",
    "A folder of images with a text file beside each": "from_files",
    "A folder of images and a table of captions": "from_table",
}


def caption(seed: int) -> str:
    return f'scene {seed}, "drawn"'


def picture(seed: int) -> bytes:
    return COPIES["jpeg 95"](scene_image(seed))


def write_rows(path: Path, rows: list[tuple[str, ...]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(rows)


def split_of(heading: str) -> dict:
    """The split that the page shows below a heading."""
    [block] = blocks_below(PAGE, heading)
    return yaml.safe_load(block.code)["train"]


def write_birds(folder: Path, url: str) -> None:
    """The data of the page, in every form: pairs of training and validation, and a test set."""
    for name in ("images", "pictures/deep"):
        (folder / name).mkdir(parents=True)
    for seed in (*TRAIN, *VALIDATION):
        (folder / "images" / f"{seed}.jpg").write_bytes(picture(seed))
    for name, seeds in (("train", TRAIN), ("validation", VALIDATION)):
        rows = [("file", "caption"), *((f"{seed}.jpg", caption(seed)) for seed in seeds)]
        write_rows(folder / f"{name}.csv", [*rows, (f"missing_{name}.jpg", "no such picture")])
    rows = [("file_name", "text"), *((f"{seed}.jpg", caption(seed)) for seed in VALIDATION)]
    write_rows(folder / "metadata.csv", rows)
    rows = [("NSFW", "URL", "TEXT"), *(("no", f"{url}/{seed}.jpg", caption(seed)) for seed in VALIDATION)]
    write_rows(folder / "urls.csv", [*rows, ("no", f"{url}/missing.jpg", "a dead link")])
    members = []
    for row, seed in enumerate(VALIDATION):
        name, record = (
            f"{row:09d}",
            {"url": f"{url}/{seed}.jpg", "caption": caption(seed)},
        )
        files = {"jpg": picture(seed), "txt": caption(seed).encode(), "json": json.dumps(record).encode()}
        members += [(f"{name}.{suffix}", content) for suffix, content in files.items()]
        for suffix, content in files.items():
            (folder / "pictures" / "deep" / f"{name}.{suffix}").write_bytes(content)
    (folder / "pictures" / "alone.jpg").write_bytes(picture(200))
    write_tar(folder / "tars" / "00000.tar", members)
    for form in ("tars", "pictures"):
        pq.write_table(pa.table({"key": ["000000000"]}), folder / form / "00000.parquet")
        (folder / form / "00000_stats.json").write_text('{"count": 8}')
    # A test set of new pictures, and one that is a re-encoded training picture.
    for label, breed in enumerate(BREEDS):
        (folder / "garden" / breed).mkdir(parents=True)
        for seed in range(300 + 5 * label, 305 + 5 * label):
            (folder / "garden" / breed / f"{seed}.png").write_bytes(COPIES["png"](scene_image(seed)))
    (folder / "garden" / BREEDS[0] / "seen.jpg").write_bytes(COPIES["jpeg 75"](scene_image(TRAIN[3])))


def small(checkout: Path, port: int) -> Path:
    """The changes of the page's configuration that make it small; its forms become retrieval sets."""
    recipe = {"epochs": 2, "eval_epochs": [2], "batch_size": 8, "micro_batch_size": 4, "warmup_steps": 2}
    corpora = {
        name: {"title": heading, "requests_per_second": 100, "validation": split_of(heading)}
        for heading, name in FORMS.items()
    }
    run = {"corpus": "birds", "architectures": ["tiny"], "recipe": "birds", "objectives": ["clip", "cloob"]}
    config = {
        "corpora": corpora,
        "architectures": {"tiny": "config/architectures/tiny.json"},
        "recipes": {"birds": recipe | {"precision": "float32"}},
        "runs": [run | {"seeds": [1]}],
        "download": {
            "allowed_addresses": [f"127.0.0.1:{port}"],
            "retry_rounds": 1,
            "processes": 1,
            "threads": 4,
        },
        "shards": {"processes": 1},
        "train": {"workers": 0},
        "evaluate": {
            "workers": 0,
            "retrieval_sets": {
                name: {"title": heading, "shards": f"{name}/validation"} for heading, name in FORMS.items()
            },
        },
    }
    (checkout / "config" / "architectures" / "tiny.json").write_text(json.dumps(MODEL_CONFIG))
    path = checkout / "config" / "small.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


@pytest.fixture
def checkout(copy_of_checkout, tmp_path):
    """A copy of this checkout with the files that the page shows."""
    root = copy_of_checkout(tmp_path / "checkout")
    apply_to_checkout(read_blocks(PAGE), root)
    return root


def test_the_page_shows_a_complete_configuration(checkout, snakemake):
    """It is valid, and plans no job for another corpus; only the pictures are missing."""
    plan = snakemake("-n", "all", "--configfile", "config/birds.yaml", root=checkout)
    assert plan.returncode == 0, plan.stderr
    for name in ("images", "train.csv", "validation.csv", "garden"):
        assert f"  - data/birds/{name}  (key " in plan.stdout + plan.stderr
    jobs = dict(re.findall(r"^(\w+) +(\d+)$", plan.stdout, flags=re.MULTILINE))
    expected = {"pack": "2", "train": "6", "zeroshot": "6", "image_text": "6", "overlap": "1"}
    assert jobs.items() >= expected.items() and "fetch" not in jobs
    assert "shards/cc3m" not in plan.stdout


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_pictures_in_every_form_are_packed_trained_on_and_evaluated(checkout, snakemake, tmp_path):
    with ToyDataServer(tmp_path / "served", 0) as server, forking_python(tmp_path / "programs") as programs:
        port = server.server_address[1]
        write_birds(checkout / "data" / "birds", f"http://127.0.0.1:{port}")
        (tmp_path / "served").symlink_to(checkout / "data" / "birds" / "images")
        configs = ("--configfile", "config/birds.yaml", small(checkout, port))
        names = ("accounting", "corpus", "zeroshot", "retrieval", "overlap")
        targets = [f"results/birds/tables/{name}.csv" for name in names]
        done = snakemake(*targets, *configs, "--cores", 2, programs=[programs], root=checkout)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-5000:]
    tables = {name: pd.read_csv(checkout / target) for name, target in zip(names, targets, strict=True)}

    accounting = tables["accounting"]
    rows = accounting[accounting.rows > 0].set_index(["corpus", "split", "outcome"]).rows
    assert rows["birds", "train"].to_dict() == {"kept": len(TRAIN), "no_image": 1}
    assert rows["birds", "validation"].to_dict() == {"kept": len(VALIDATION), "no_image": 1}
    assert rows["from_tars", "validation"].to_dict() == {"kept": 8}
    assert rows["from_files", "validation"].to_dict() == {"kept": 8, "no_caption": 1}
    assert rows["from_table", "validation"].to_dict() == {"kept": 8}
    assert rows["from_urls", "validation"]["http_404"] == 1

    retrieval = tables["retrieval"]
    measured = retrieval[(retrieval.statistic == "measured") & (retrieval.metric == "image_to_text_r1")]
    # The same pictures in every form: the same ranks.
    assert set(measured.dataset) == {"birds_validation", *FORMS.values()}
    assert (measured.groupby("objective").value.nunique() == 1).all()
    zeroshot = tables["zeroshot"]
    assert set(zeroshot[zeroshot.statistic == "measured"].objective) == {"clip", "cloob"}
    overlap = tables["overlap"]
    assert len(overlap) == 2 and (overlap.overlapping == 1).all() and (overlap.images == 11).all()
    expected = (11 * overlap.accuracy - overlap.accuracy_overlap) / 10
    assert overlap.accuracy_clean.tolist() == pytest.approx(expected.tolist())
    for objective in ("clip", "cloob"):
        folder = checkout / "results" / "birds" / "train" / f"birds-{objective}-tiny-birds-seed1"
        assert (folder / "final.pt").exists() and (folder / "open_clip").is_dir()
