import re

from cloob.train import progress


def test_a_line_says_all_that_one_asks_of_a_run(capsys, monkeypatch):
    clock = iter([100.0, 101.0, 110.0, 111.0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    run = progress.Progress("a-run", first=10, steps=40, steps_per_epoch=20, batch=64, processes=2)
    for step in (11, 12, 13):  # lines at second 10 only
        run.step(step, loss=1.5, inverse_temperature=30.0, rate=5e-4, data=1.0, working=2.0)
    assert capsys.readouterr().out == (
        "a-run: step 12/40 epoch 0.60 | loss 1.5000 1/tau 30.00 lr 5.00e-04"
        " | data 1.000 s batch 3.000 s | 13 samples/s (6 a process) | 0:02:20 left\n"
    )


def test_the_last_step_has_its_line(capsys):
    run = progress.Progress("a-run", first=0, steps=1, steps_per_epoch=1, batch=8, processes=1)
    run.step(1, loss=0.0, inverse_temperature=1.0, rate=0.0, data=0.0, working=0.0)
    assert re.search(r"step 1/1 .* 0:00:00 left", capsys.readouterr().out)
