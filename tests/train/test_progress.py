"""Console progress of a run."""

import re

from cloob.train import progress

VALUES = {
    "steps": 40,
    "loss": 1.5,
    "inv_temperature": 30.0,
    "learning_rate": 5e-4,
    "data_seconds": 1.0,
    "batch_seconds": 3.0,
}


def test_a_line_shows_step_loss_times_speed_and_remaining_time(capsys, monkeypatch):
    clock = iter([100.0, 101.0, 110.0, 111.0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    console = progress.Progress("a-run", first_step=10, batch_size=64, processes=2)
    for step in (11, 12, 13):  # only the one at second 10 prints
        console.update(VALUES | {"step": step, "epoch": step / 20})
    assert capsys.readouterr().out == (
        "a-run: step 12/40 epoch 0.60 | loss 1.5000 1/tau 30.00 lr 5.00e-04"
        " | data 1.000 s batch 3.000 s | 13 samples/s (6 per process) | 0:02:20 left\n"
    )


def test_the_last_step_is_always_printed(capsys):
    console = progress.Progress("a-run", first_step=0, batch_size=8, processes=1)
    console.update(VALUES | {"step": 1, "steps": 1, "epoch": 1.0})
    assert re.search(r"step 1/1 .* 0:00:00 left", capsys.readouterr().out)
