"""The plan says what training will cost, from recipe, packed corpus and measured rate."""

import json

import pytest

RUN = "cc3m-clip-RN50-cc3m-seed1"


@pytest.fixture
def said(snakemake, config_with, tmp_path):
    """The lines on training in the plan of the paper, with results in a folder of one's own."""

    def plan():
        folder = config_with({"results": str(tmp_path)})
        done = snakemake("-n", f"{tmp_path}/train/{RUN}/final.pt", "--configfile", folder)
        text = (done.stdout + done.stderr).split("Training that the grid of runs still asks for:\n", 1)[1]
        return [line[4:] for line in text.splitlines()[:4] if line.startswith("  - ")]

    return plan


def test_before_a_corpus_is_packed_its_pairs_are_not_known(said):
    assert "10 × cc3m RN50, 128 epochs: pairs not known before the corpus is packed" in said()


def test_a_measured_rate_becomes_gpu_hours(said, tmp_path):
    manifest = tmp_path / "shards" / "cc3m" / "train" / "shards.json"
    manifest.parent.mkdir(parents=True)
    manifest.write_text(json.dumps({"samples": 2_250_000}))
    assert (
        "10 × cc3m RN50, 128 epochs: 288,000,000 pairs each; no run of RN50 measured yet, so no hours"
        in said()
    )
    log = tmp_path / "train" / RUN / "checkpoints" / "metrics.jsonl"
    log.parent.mkdir(parents=True)
    events = [{"event": "start", "processes": 4}]
    events += [
        {"event": "step", "samples_seen": seen, "samples_per_second": rate}
        for seen, rate in ((9_600_000, 100), (19_200_000, 2000), (28_800_000, 9000))
    ]
    log.write_text("".join(json.dumps(event) + "\n" for event in events) + '{"event": "start", "run": {}')
    # 288 million pairs / (2 000 / 4 pairs a second and GPU, the median) / 3 600 s = 160 hours of one GPU; a
    # tenth of one of the ten runs is done.
    assert (
        "10 × cc3m RN50, 128 epochs: 288,000,000 pairs each, 28,800,000 of all trained, "
        "40.00 h on 4 processes; 1,584.0 GPU-hours to go (one GPU a process)"
    ) in said()


def test_what_is_trained_is_read_in_a_moment_however_long_the_log(said, tmp_path):
    manifest = tmp_path / "shards" / "cc3m" / "train" / "shards.json"
    manifest.parent.mkdir(parents=True)
    manifest.write_text(json.dumps({"samples": 2_250_000}))
    log = tmp_path / "train" / RUN / "checkpoints" / "metrics.jsonl"
    log.parent.mkdir(parents=True)
    step = json.dumps({"event": "step", "samples_seen": 500, "samples_per_second": 2000.0})
    unread = (json.dumps({"event": "step", "samples_seen": 999, "samples_per_second": 1.0}) + "\n") * 10_000
    log.write_text(json.dumps({"event": "start", "processes": 2}) + "\n" + unread + f"{step}\n" * 4_000)
    assert "288,000,000 pairs each, 500 of all trained, 20.00 h on 4 processes" in said()[0]
