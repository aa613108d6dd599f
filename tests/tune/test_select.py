"""The choice of a recipe from the trials of a hyperparameter search."""

import json
from pathlib import Path

import pytest

from cloob.cli import main
from cloob.common.errors import InputError
from cloob.tune.select import ranked, select
from cloob.tune.trials import read_trial
from tests.helpers.trials import write_trial

KEYS = ["learning_rate", "warmup_steps"]


def choose(folder: Path, logs: list[Path]) -> tuple[dict, dict]:
    """The contents of the two output files."""
    recipe, ranking = folder / "cloob.json", folder / "cloob_trials.json"
    select("toy", "cloob", KEYS, logs, recipe, ranking)
    return json.loads(recipe.read_text()), json.loads(ranking.read_text())


def test_the_winner_has_the_highest_mean_recall_after_the_last_epoch(tmp_path: Path) -> None:
    logs = [
        write_trial(tmp_path / "a", 0.2, learning_rate=1e-3),
        write_trial(tmp_path / "b", 0.3, learning_rate=2e-3, warmup_steps=20),
        # The better direction alone does not decide, nor an earlier epoch.
        write_trial(tmp_path / "c", 0.1, learning_rate=3e-3, validation={"text_to_image_r1": 0.45}),
    ]
    recipe, ranking = choose(tmp_path, logs)
    chosen = {"learning_rate": 2e-3, "warmup_steps": 20}
    assert recipe == {"search": "toy", "objective": "cloob", "recipe": chosen}
    assert [trial["rank"] for trial in ranking["trials"]] == [3, 1, 2]
    assert ranking["trials"][2]["metrics"]["text_to_image_r1"] == 0.45
    assert (ranking["epochs"], ranking["validation_pairs"], ranking["seed"]) == (2, 100, 0)


def test_ties_are_decided_by_further_ranks_then_by_the_order_of_the_grid(tmp_path: Path) -> None:
    logs = [
        write_trial(tmp_path / "a", 0.2, warmup_steps=1),
        write_trial(tmp_path / "b", 0.2, warmup_steps=2, validation={"image_to_text_r10": 0.95}),
        write_trial(tmp_path / "c", 0.2, warmup_steps=3, validation={"text_to_image_r5": 0.91}),
        write_trial(tmp_path / "d", 0.2, warmup_steps=4),
    ]
    order = ranked([read_trial(log, KEYS) for log in logs])
    assert [trial.values["warmup_steps"] for trial in order] == [3, 2, 1, 4]


def test_a_diverged_trial_ranks_last(tmp_path: Path) -> None:
    logs = [write_trial(tmp_path / "a", None, warmup_steps=1), write_trial(tmp_path / "b", 0.0)]
    recipe, ranking = choose(tmp_path, logs)
    assert recipe["recipe"]["warmup_steps"] == 10
    assert [(trial["rank"], trial["diverged"]) for trial in ranking["trials"]] == [(2, True), (1, False)]
    assert ranking["trials"][0]["metrics"] is None


def test_if_all_trials_diverged_the_error_names_the_grid(tmp_path: Path) -> None:
    logs = [write_trial(tmp_path / name, None, warmup_steps=int(name)) for name in "12"]
    with pytest.raises(
        InputError, match=r"all 2 trials of cloob diverged; reduce .* of search.toy.grid.cloob"
    ):
        choose(tmp_path, logs)


def test_the_chosen_recipe_has_the_same_bytes_as_long_as_the_choice_is_the_same(tmp_path: Path) -> None:
    logs = [write_trial(tmp_path / "a", 0.2), write_trial(tmp_path / "b", 0.1, warmup_steps=1)]
    choose(tmp_path, logs)
    before = (tmp_path / "cloob.json").read_bytes()
    choose(tmp_path, [*reversed(logs), write_trial(tmp_path / "c", 0.15, warmup_steps=2)])
    assert (tmp_path / "cloob.json").read_bytes() == before


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"start": {"corpus_sha256": "b2"}}, "corpus_sha256 is 'b2', but 'a1' in .*a/metrics.jsonl"),
        ({"weight_decay": 0.2}, r"recipe.weight_decay is 0.2, but 0.1 in"),
        ({"label_smoothing": 0.1}, r"recipe.label_smoothing is 0.1, but None in"),
        ({"run": {"seed": 1}}, "seed is 1, but 0 in"),
        ({"validation": {"samples": 99}}, "99 validation pairs, but 100 in"),
        ({"start": {"validation_sha256": "v2"}}, "validation_sha256 is v2, but v1 in .*; delete the logs"),
        ({"warmup_steps": 10}, "the same setting as .*a/metrics.jsonl"),
        ({"run": {"objective": "clip"}}, "trains clip, not cloob"),
        ({"validation": {"epoch": 1}}, "no validation after the last epoch, 2"),
        ({"validation": {"text_to_image_r5": 1.5}}, r"text_to_image_r5 of the last validation is not in"),
        ({"validation": {"samples": None}}, "no number of samples"),
        ({"start": {"recipe": None}}, "no start event with run and recipe"),
        ({"start": {"recipe": {"epochs": 2}}}, "its recipe has no learning_rate, warmup_steps"),
    ],
)
def test_trials_that_cannot_be_compared_are_rejected_by_name(
    tmp_path: Path, other: dict, message: str
) -> None:
    logs = [
        write_trial(tmp_path / "a", 0.2),
        write_trial(tmp_path / "b", 0.3, **{"warmup_steps": 20} | other),
    ]
    with pytest.raises(InputError, match=rf"{tmp_path}/b/metrics.jsonl: .*{message}"):
        choose(tmp_path, logs)


def test_diverged_trials_and_logs_of_older_versions_are_on_no_known_validation_pairs(tmp_path: Path) -> None:
    logs = [
        write_trial(tmp_path / "a", 0.2),
        write_trial(tmp_path / "b", 0.3, warmup_steps=20, start={"validation_sha256": None}),
        write_trial(tmp_path / "c", None, warmup_steps=30, start={"validation_sha256": "v2"}),
    ]
    recipe, _ = choose(tmp_path, logs)
    assert recipe["recipe"]["warmup_steps"] == 20


def test_a_damaged_log_is_reported_with_its_line(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    log = write_trial(tmp_path / "a", 0.2)
    log.write_text(log.read_text() + '{"event"')
    outputs = [f"--recipe={tmp_path}/r.json", f"--ranking={tmp_path}/t.json"]
    with pytest.raises(SystemExit) as ended:
        main(
            [
                "tune",
                "select",
                "--search=toy",
                "--objective=cloob",
                "--keys=epochs",
                f"--trials={log}",
                *outputs,
            ]
        )
    assert ended.value.code == 2
    assert f"{log}, line 5: not an event of `cloob train`; delete it" in capsys.readouterr().err
    with pytest.raises(InputError, match=r"missing\.jsonl: no such log; run the trial first"):
        read_trial(tmp_path / "missing.jsonl", KEYS)
