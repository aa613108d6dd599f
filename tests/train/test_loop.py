"""The training loop submits a step before it reads the numbers of the one before."""

from cloob.train import loop
from cloob.train.distributed import init_distributed
from cloob.train.recipe import Recipe, Run
from cloob.train.setup import RunPaths, TrainOptions
from cloob.train.signals import StopRequest
from cloob.train.submitted_step import NumbersOnTheirWay
from tests.helpers.recipes import BASE

RUN = Run(corpus="cc3m", objective="cloob", architecture="tiny", recipe="test", seed=3)


def test_the_device_has_the_next_step_before_the_host_waits_for_its_numbers(
    shards, model, tmp_path, monkeypatch
):
    submit_step, read = loop._submit_step, NumbersOnTheirWay.read
    events, steps = [], {}

    def recorded_submission(*arguments):
        submitted = submit_step(*arguments)
        steps[id(submitted.numbers)] = submitted.number + 1
        events.append(f"submit {submitted.number + 1}")
        return submitted

    def recorded_read(numbers):
        event = f"read {steps[id(numbers)]}"
        if event not in events:  # later reads do not wait
            events.append(event)
        return read(numbers)

    monkeypatch.setattr(loop, "_submit_step", recorded_submission)
    monkeypatch.setattr(NumbersOnTheirWay, "read", recorded_read)
    recipe = Recipe(**BASE | {"epochs": 1, "batch_size": 4, "micro_batch_size": 2})
    with init_distributed() as context:
        paths = RunPaths(shards, shards, tmp_path)
        assert loop.train(RUN, recipe, model, paths, context, StopRequest(), TrainOptions())
    within_epoch = "submit 1, submit 2, read 1, submit 3, read 2, submit 4, read 3, submit 5, read 4"
    assert ", ".join(events) == within_epoch + ", read 5"  # before validation
