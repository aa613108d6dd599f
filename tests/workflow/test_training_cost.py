"""The cost of unfinished training runs, from recipe, packed corpus and measured throughput."""

import errno
import json

import pytest

from cloob.workflow.training_cost import training_cost
from tests.helpers.configs import config_from
from tests.helpers.io_errors import fail_reads_below

RUN = "cc3m-clip-RN50-cc3m-seed1"


@pytest.fixture
def config(tmp_path):
    return config_from(results=str(tmp_path), search={"cc3m": None}) | {"search": {}}


@pytest.fixture
def packed(tmp_path):
    """The manifest of the packed training corpus."""
    manifest = tmp_path / "shards" / "cc3m" / "train" / "shards.json"
    manifest.parent.mkdir(parents=True)
    manifest.write_text(json.dumps({"samples": 2_250_000}))
    return manifest


@pytest.fixture
def log(tmp_path):
    path = tmp_path / "train" / RUN / "checkpoints" / "metrics.jsonl"
    path.parent.mkdir(parents=True)
    return path


def test_runs_are_grouped_by_corpus_architecture_and_recipe(config, tmp_path):
    final = tmp_path / "train" / RUN / "final.pt"
    final.parent.mkdir(parents=True)
    final.touch()
    lines, warnings = training_cost(config)
    assert [line.partition(":")[0] for line in lines] == [
        "9 × cc3m RN50, recipe cc3m, 128 epochs",
        "2 × yfcc15m RN101, recipe yfcc15m, 28 epochs",
        "2 × yfcc15m RN50, recipe yfcc15m, 28 epochs",
        "2 × yfcc15m RN50x4, recipe yfcc15m, 28 epochs",
    ]
    assert warnings == []


def test_before_a_corpus_is_packed_the_number_of_pairs_is_unknown(config):
    lines, _ = training_cost(config)
    assert (
        lines[0]
        == "10 × cc3m RN50, recipe cc3m, 128 epochs: number of pairs unknown until the corpus is packed"
    )


@pytest.mark.usefixtures("packed")
def test_before_a_step_is_logged_the_time_is_unknown(config):
    lines, _ = training_cost(config)
    assert lines[0] == (
        "10 × cc3m RN50, recipe cc3m, 128 epochs: 288,000,000 pairs each; time unknown, because no run of "
        "RN50 has been measured"
    )


@pytest.mark.usefixtures("packed")
def test_steps_count_for_the_processes_that_they_ran_on(config, log):
    """A run resumed on eight processes, so long ago that its second start is not among the lines read."""
    step = {"event": "step", "samples_per_second": 4000.0, "processes": 8}
    events = [{"event": "start", "processes": 4}, {"event": "start", "processes": 8}]
    events += [step | {"samples_seen": 512 * number} for number in range(1, 10_000)]
    log.write_text("".join(json.dumps(event) + "\n" for event in events))
    lines, _ = training_cost(config)
    # 288 million pairs / (4,000 / 8 pairs per second and GPU) / 3,600 s = 160 hours on one GPU.
    assert "40.00 h each with 4 processes" in lines[0]


@pytest.mark.usefixtures("packed")
def test_measured_throughput_gives_gpu_hours(config, log):
    events = [{"event": "start", "processes": 4}]
    events += [
        {"event": "step", "samples_seen": seen, "samples_per_second": rate}
        for seen, rate in ((9_600_000, 100), (19_200_000, 2000), (28_800_000, 9000))
    ]
    log.write_text("".join(json.dumps(event) + "\n" for event in events) + '{"event": "start", "run": {}')
    # 288 million pairs / (2,000 / 4 pairs per second and GPU, the median) / 3,600 s = 160 hours on one GPU.
    # A tenth of one of the ten runs is trained.
    lines, warnings = training_cost(config)
    assert lines[0] == (
        "10 × cc3m RN50, recipe cc3m, 128 epochs: 288,000,000 pairs each, 28,800,000 trained so far, "
        "40.00 h each with 4 processes; 1,584.0 GPU-hours remaining (one GPU per process)"
    )
    assert warnings == []  # a torn last line is normal after a kill


@pytest.mark.usefixtures("packed")
def test_only_the_end_of_a_long_log_is_read(config, log):
    step = json.dumps({"event": "step", "samples_seen": 500, "samples_per_second": 2000.0})
    unread = (json.dumps({"event": "step", "samples_seen": 999, "samples_per_second": 1.0}) + "\n") * 10_000
    log.write_text(json.dumps({"event": "start", "processes": 2}) + "\n" + unread + f"{step}\n" * 4_000)
    lines, _ = training_cost(config)
    assert "288,000,000 pairs each, 500 trained so far, 20.00 h each" in lines[0]


def test_a_damaged_line_is_skipped_with_a_warning(config, log):
    log.write_text('{"event": "start", "processes": 2}\n{"event"\n{"event": "stop"}\n')
    _, warnings = training_cost(config)
    assert warnings == [f"{log}: skipped damaged line 2"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "not JSON (Expecting value: line 1 column 1 (char 0))"),
        (b"\xff", "not JSON ("),
        (b"[]", "no number of samples"),
        (b"{}", "no number of samples"),
        (b'{"samples": NaN}', "no number of samples"),
        (b'{"samples": -1}', "no number of samples"),
    ],
)
def test_a_damaged_manifest_is_a_line_of_the_plan(config, packed, content, reason):
    packed.write_bytes(content)
    lines, _ = training_cost(config)
    start = f"10 × cc3m RN50, recipe cc3m, 128 epochs: number of pairs unknown ({packed}: {reason}"
    assert lines[0].startswith(start) and lines[0].endswith("; pack the corpus again)")


def test_files_that_cannot_be_read_are_lines_of_the_plan(config, packed, log, tmp_path, monkeypatch):
    log.write_text('{"event": "start"}\n')
    fail_reads_below(monkeypatch, tmp_path, errno.EACCES)
    lines, warnings = training_cost(config)
    assert f"number of pairs unknown ({packed}: Permission denied; check owner" in lines[0]
    assert [warning.partition(";")[0] for warning in warnings] == [f"{log}: Permission denied"]


@pytest.mark.parametrize(
    "damage",
    ['"samples_per_second": 0', '"processes": 0', '"samples_seen": NaN', '"samples_seen": 1e999'],
)
@pytest.mark.usefixtures("packed")
def test_an_impossible_number_in_a_log_is_a_damaged_line(config, log, damage):
    step = '{"event": "step", "samples_seen": 500, "samples_per_second": 500.0}\n'
    log.write_text(f'{{"event": "start", "processes": 1}}\n{{"event": "step", {damage}}}\n{step}')
    lines, warnings = training_cost(config)
    assert "288,000,000 pairs each, 500 trained so far, 40.00 h each" in lines[0]
    assert warnings == [f"{log}: skipped damaged line 2"]


def test_a_warm_up_that_ends_after_the_training_is_a_warning(config, packed):
    packed.write_text('{"samples": 10000}')
    _, warnings = training_cost(config)
    assert warnings == [
        "cc3m, recipe cc3m: warmup_steps: 20,000, but the run has only 2,432 steps (128 epochs of 19); the "
        "learning rate would never reach its peak; reduce it"
    ]
    packed.write_text('{"samples": 100}')  # does not fill a batch
    assert training_cost(config)[1] == []


def test_the_warm_ups_of_trials_and_not_those_that_a_search_chooses_are_checked(config, packed):
    packed.write_text('{"samples": 80000}')  # 19,968 steps
    config |= {"runs": [config["runs"][0] | {"search": "cc3m"}], "search": config_from()["search"]}
    [warning] = training_cost(config)[1]
    assert warning.startswith("cc3m, trials of search cc3m: warmup_steps: 20,000, but the run has only")


def test_the_plan_shows_the_cost(snakemake, config_with, tmp_path):
    plan = snakemake(
        *("-n", f"{tmp_path}/train/{RUN}/final.pt"),
        *("--configfile", config_with({"results": str(tmp_path)})),
    )
    text = plan.stdout + plan.stderr
    lines = text.split("Training runs that are not finished:\n", 1)[1].splitlines()[:4]
    assert all(line.startswith("  - ") for line in lines)
