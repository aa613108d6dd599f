"""The worked examples of docs/extending.md, executed as they are shown."""

import csv
import io
import re
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from cloob.common.json_files import read_json
from cloob.report.load.compact_logs import compact_log
from tests.helpers.doc_examples import Block, blocks_below, read_blocks
from tests.helpers.repository import ROOT
from tests.helpers.synthetic_results import write_synthetic_results
from tests.helpers.tiny_runs import save_tiny_run

PAGE = ROOT / "docs" / "extending.md"

Execute = Callable[[Sequence[Block]], list[str]]


def planned_jobs(plan: str) -> dict[str, int]:
    """The rules of a plan with their numbers of jobs."""
    return {name: int(jobs) for name, jobs in re.findall(r"^(\w+) +(\d+)$", plan, flags=re.MULTILINE)}


def outcomes(path: Path) -> dict[str, int]:
    with path.open(encoding="utf-8", newline="") as file:
        return {row["outcome"]: int(row["rows"]) for row in csv.DictReader(file)}


def jpeg(seed: int) -> bytes:
    content = io.BytesIO()
    noise = [Image.effect_noise((64, 48), 40 + 10 * band + seed) for band in range(3)]
    Image.merge("RGB", noise).save(content, "JPEG")
    return content.getvalue()


def test_every_section_with_code_is_executed_here() -> None:
    source = Path(__file__).read_text(encoding="utf-8")
    headings = {block.heading for block in read_blocks(PAGE)}
    assert headings == set(re.findall(r'blocks_below\(PAGE, "(.+?)"\)', source))


def test_a_corpus_from_a_tsv_file_without_a_header(checkout: Path, execute: Execute) -> None:
    list_file = checkout / "data" / "cc12m" / "cc12m.tsv"
    list_file.parent.mkdir(parents=True)
    list_file.write_text(
        "https://example.org/1.jpg\ta dog on a beach\n"
        "https://example.org/2.jpg\tzwei Hunde am Strand\n"
        "no caption here\n"
    )
    plan, _ = execute(blocks_below(PAGE, "A corpus from a TSV file"))
    jobs = planned_jobs(plan)
    assert (jobs["train"], jobs["fetch"]) == (2, 32 + 1)
    assert "results/train/cc12m-cloob-RN50-cc3m-seed1/final.pt" in plan
    assert "results/shards/cc3m/validation/shards.json" in plan
    table = pq.read_table(checkout / "urls.parquet").to_pylist()
    assert [(row["url"], row["caption"]) for row in table] == [
        ("https://example.org/1.jpg", "a dog on a beach"),
        ("https://example.org/2.jpg", "zwei Hunde am Strand"),
    ]
    counts = outcomes(checkout / "outcomes.csv")
    assert counts["kept"] == 2 and sum(counts.values()) == 3


def test_a_corpus_from_parquet_files_with_named_columns(checkout: Path, execute: Execute) -> None:
    for part in (0, 1):
        path = checkout / "data" / "web" / f"part-{part}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        urls = [f"https://example.org/{part}/{row}.jpg" for row in range(3)]
        pq.write_table(pa.table({"id": [1, 2, 3], "TEXT": ["a cat", "a dog", None], "URL": urls}), path)
    [plan] = execute(blocks_below(PAGE, "A corpus from Parquet files"))
    assert (planned_jobs(plan)["train"], planned_jobs(plan)["fetch"]) == (1, 16 + 1)
    assert pq.read_table(checkout / "urls.parquet")["caption"].to_pylist() == ["a cat", "a dog"] * 2
    assert sum(outcomes(checkout / "outcomes.csv").values()) == 6


def test_a_corpus_from_existing_webdataset_shards(checkout: Path, execute: Execute) -> None:
    for folder in ("train-2023", "train-2024", "validation"):
        path = checkout / "data" / "mydata" / folder / "00000.tar"
        path.parent.mkdir(parents=True)
        with tarfile.open(path, "w") as tar:
            for number in range(4):
                for suffix, content in (("jpg", jpeg(number)), ("txt", f"caption {number}".encode())):
                    member = tarfile.TarInfo(f"{number:05d}.{suffix}")
                    member.size = len(content)
                    tar.addfile(member, io.BytesIO(content))
    plan, _ = execute(blocks_below(PAGE, "A corpus from existing webdataset shards"))
    jobs = planned_jobs(plan)
    assert (jobs["train"], jobs["pack"]) == (2, 2) and "fetch" not in jobs
    assert read_json(checkout / "packed" / "shards.json")["samples"] == 4
    assert (checkout / "packed" / "verified.json").exists()


def test_an_objective_with_a_loss_of_its_own(execute: Execute) -> None:
    _, plan = execute(blocks_below(PAGE, "An objective"))
    assert planned_jobs(plan)["train"] == 4
    assert "results/train/cc3m-bounded_cloob-RN50-cc3m-seed2/final.pt" in plan


def test_a_test_set_from_one_file_and_one_line(checkout: Path, execute: Execute) -> None:
    for number, name in enumerate(("crops", "forest", "river")):
        folder = checkout / "data" / "eurosat" / "test" / name
        folder.mkdir(parents=True)
        for image in range(2):
            (folder / f"{image}.jpg").write_bytes(jpeg(10 * number + image))
    save_tiny_run(checkout / "results" / "train" / "cc3m-cloob-RN50-cc3m-seed1")
    plan, demo_plan, _ = execute(blocks_below(PAGE, "A test set"))
    assert "results/evaluate/cc3m-cloob-RN50-cc3m-seed1/epoch_31/zeroshot/eurosat.json" in plan
    assert "eurosat" not in demo_plan
    result = read_json(checkout / "out" / "eurosat.json")
    assert (result["images"], result["classes"]) == (6, 3)


def test_a_figure_from_one_module(checkout: Path, execute: Execute) -> None:
    results = write_synthetic_results(checkout / "results", seeds=(1, 2), epochs=(1, 2), eval_epochs=(2,))
    for log in results.logs:
        compact_log(log, log.with_suffix(".parquet"))
    plan, _ = execute(blocks_below(PAGE, "A figure or a table"))
    assert planned_jobs(plan)["figure"] == 1
    assert {path.suffix for path in (checkout / "figures").glob("validation_recall.*")} >= {
        ".png",
        ".pdf",
        ".csv",
    }
