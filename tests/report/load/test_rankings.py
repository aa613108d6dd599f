"""The ranked trials of a hyperparameter search: values that no ranking can have are named."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cloob.common.errors import InputError
from cloob.report.load.rankings import read_ranking
from tests.helpers.result_writers import write_ranking

SETTINGS = {4e-3: 0.3, 2e-3: 0.29, 8e-3: None}


def test_the_trials_are_read_best_first(tmp_path: Path) -> None:
    path = write_ranking(tmp_path, "lr", "clip", SETTINGS)
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {"trials": content["trials"][::-1]}))
    ranking = read_ranking(path)
    assert [trial.values["learning_rate"] for trial in ranking.trials] == list(SETTINGS)
    assert [trial.mean_r1 for trial in ranking.trials] == [pytest.approx(0.3), pytest.approx(0.29), None]
    assert (ranking.search, ranking.objective, ranking.validation_pairs) == ("lr", "clip", 1000)


Change = Callable[[dict[str, Any]], object]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda content: content.update(validation_pairs=0), "validation_pairs is 0"),
        (
            lambda content: content["trials"][0]["metrics"].update(image_to_text_r1=1.2),
            r"trials\[0\].metrics.image_to_text_r1 is 1.2, not in \[0, 1\]",
        ),
        (
            lambda content: content["trials"][1]["metrics"].update(text_to_image_r1=-0.1),
            r"trials\[1\].metrics.text_to_image_r1 is -0.1, not in \[0, 1\]",
        ),
        (
            lambda content: content["trials"][1]["metrics"].pop("text_to_image_r5"),
            r"trials\[1\].metrics.text_to_image_r5 is missing",
        ),
        (
            lambda content: content["trials"][2]["values"].pop("warmup_steps"),
            r"trials\[2\].values has other keys than trials\[0\].values",
        ),
        (
            lambda content: content["trials"][1]["values"].update(adam_eps=1e-8),
            r"trials\[1\].values has other keys than trials\[0\].values",
        ),
        (lambda content: content["trials"][0].update(rank=2), "the ranks are not 1, 2, …"),
        (lambda content: content["trials"][0].update(diverged=True), "no trial is ranked first"),
        (lambda content: content.update(trials=[]), "no trial is ranked first"),
    ],
)
def test_values_that_no_ranking_can_have_are_named(tmp_path: Path, change: Change, problem: str) -> None:
    path = write_ranking(tmp_path, "lr", "clip", SETTINGS)
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=rf"^{path}: not a ranking of .*: {problem}; delete it and run"):
        read_ranking(path)
