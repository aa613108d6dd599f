import json

from cloob.train.metrics import Metrics


def events(path):
    return [json.loads(line)["samples_seen"] for line in path.read_text().splitlines()]


def test_the_log_is_cut_back_to_the_checkpoint_when_a_run_goes_on(tmp_path):
    path = tmp_path / "metrics.jsonl"
    log = Metrics(path, 0)
    for samples in (8, 16, 24):
        log.write("step", samples, loss=1.0)
    log.close()
    with path.open("a") as file:
        file.write('{"event": "st')  # where the kill came
    again = Metrics(path, 16)
    again.write("step", 24, loss=2.0)
    again.close()
    assert events(path) == [8, 16, 24]
    assert json.loads(path.read_text().splitlines()[-1])["loss"] == 2.0


def test_a_run_from_the_start_forgets_an_old_log(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"event": "step", "samples_seen": 8}\n')
    Metrics(path, 0).close()
    assert path.read_text() == ""
