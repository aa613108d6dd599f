"""Which recipes a table compares, and how it says that they differ."""

import pytest

from cloob.report.load.recipes import recipe_differences, recipe_groups


@pytest.mark.parametrize(
    ("runs", "groups"),
    [
        ([], []),
        (["clip a", "cloob a"], [("a",)]),
        # Every objective has the recipe that the search found for it.
        (["clip a", "infoloob b", "cloob c"], [("a", "b", "c")]),
        (["clip a", "infoloob a", "cloob c"], [("a", "c")]),
        # Objectives with several recipes are compared at equal ones.
        (["clip a", "cloob a", "clip b", "cloob b"], [("a",), ("b",)]),
        (["clip a", "cloob a", "clip b", "cloob c"], [("a",), ("b", "c")]),
        (["clip a", "clip b"], [("a",), ("b",)]),
        (["clip a", "clip b", "cloob c"], [("a",), ("b",), ("c",)]),
    ],
)
def test_runs_are_grouped_by_recipe_unless_each_objective_has_its_own(
    runs: list[str], groups: list[tuple[str, ...]]
) -> None:
    pairs = [(run.split()[0], run.split()[1]) for run in runs]
    assert recipe_groups(pairs) == recipe_groups(pairs[::-1]) == groups


def test_names_and_hyperparameters_that_differ_are_listed_by_objective() -> None:
    shared = {"epochs": 10, "precision": "float32"}
    starts = [
        ("cloob", {"recipe": shared | {"learning_rate": 1e-3, "hopfield_beta": 8.0}}),
        ("clip", {"recipe": shared | {"learning_rate": 2e-3}}),
    ]
    assert recipe_differences({"cloob": "a", "clip": "b"}, starts) == [
        "Recipes differ by objective: CLIP b, CLOOB a.",
        "Hyperparameters that differ by objective: learning_rate (CLIP 0.002, CLOOB 0.001); "
        "hopfield_beta (CLOOB 8).",
    ]


def test_equal_recipes_and_a_single_objective_have_no_remark() -> None:
    start = {"recipe": {"learning_rate": 1e-3}}
    assert recipe_differences({"clip": "a", "cloob": "a"}, [("clip", start), ("cloob", start)]) == []
    assert recipe_differences({"clip": "a"}, [("clip", start), ("clip", start)]) == []
