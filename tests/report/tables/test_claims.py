"""Verdicts on the claims for runs in which all claims hold, none holds, or seeds are too few."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from cloob.cli import main
from cloob.report.tables.grid_section import decidable
from tests.helpers.result_writers import run_of, write_log, write_result

OBJECTIVES = ("clip", "infonce_hopfield", "infoloob", "cloob")
# Two sets: seven seeds can attain p = 1/128, and 4/128 after Holm's correction over the largest family.
SETS = ("birdsnap", "gtsrb")
# Metric -> value per objective for which all claims of the paper hold.
TRUE = {
    "accuracy": (0.2, 0.22, 0.24, 0.3),
    "recall": (0.1, 0.11, 0.12, 0.2),
    "eigenvalues": (100, 120, 110, 200),
    "ajne": (57.6, 44.3, 4.4, 4.1),
    "saturation": (0.5, 0.2, 0.6, 0.3),
}


@pytest.fixture
def claims(tmp_path: Path) -> Callable[..., tuple[pd.DataFrame, str]]:
    """Make the table for runs with `values`, slightly larger with every seed; returns CSV and Markdown."""

    def check(
        values: dict[str, tuple[float, ...]],
        seeds: int,
        objectives: tuple[str, ...] = OBJECTIVES,
        is_missing: Callable[[Path], bool] = lambda path: False,
        swap_odd_seeds: bool = False,
    ) -> tuple[pd.DataFrame, str]:
        paths = []
        for index, objective in enumerate(OBJECTIVES):
            for seed in range(1, seeds + 1) if objective in objectives else ():
                run = run_of(objective, seed)
                place = len(OBJECTIVES) - 1 - index if swap_odd_seeds and seed % 2 else index
                value = {metric: numbers[place] * (1 + seed / 1000) for metric, numbers in values.items()}
                for dataset in SETS:
                    for protocol in ("zeroshot", "linear_probe"):
                        paths.append(
                            write_result(tmp_path, run, 31, protocol, dataset, accuracy=value["accuracy"])
                        )
                recalls = {
                    f"{direction}_r1": value["recall"] for direction in ("image_to_text", "text_to_image")
                }
                paths.append(write_result(tmp_path, run, 31, "retrieval", "cc3m_validation", **recalls))
                sides = {f"effective_eigenvalues_{side}": value["eigenvalues"] for side in ("image", "text")}
                sides |= {f"ajne_{side}": value["ajne"] for side in ("image", "text")}
                paths.append(
                    write_result(tmp_path, run, 31, "embedding_structure", "cc3m_validation", **sides)
                )
                paths.append(write_log(tmp_path, run, {30: 0.9, 31: value["saturation"]}))
        for path in filter(is_missing, paths):
            path.unlink()
        csv = tmp_path / "claims.csv"
        with pytest.raises(SystemExit) as exit_info:
            main(
                [
                    "report",
                    "table",
                    "claims",
                    "--results",
                    *map(str, paths),
                    "--allow-missing",
                    "--csv",
                    str(csv),
                ]
            )
        assert exit_info.value.code == 0
        return pd.read_csv(csv), csv.with_suffix(".md").read_text()

    return check


def test_all_claims_are_supported_if_they_hold(claims: Callable) -> None:
    table, _ = claims(TRUE, seeds=7)
    assert dict(zip(table.claim, table.verdict, strict=True)) == dict.fromkeys(
        [
            *("zeroshot_overall", "zeroshot_birdsnap", "zeroshot_gtsrb"),
            *("linear_probe_overall", "linear_probe_birdsnap", "linear_probe_gtsrb"),
            *("ablation_infonce_hopfield", "ablation_infoloob"),
            *("retrieval_image_to_text", "retrieval_text_to_image"),
            *("eigenvalues_infonce_image", "eigenvalues_infoloob_image"),
            *("eigenvalues_infonce_text", "eigenvalues_infoloob_text"),
            *("uniformity_plain_image", "uniformity_hopfield_image"),
            *("uniformity_plain_text", "uniformity_hopfield_text"),
            "saturation",
        ],
        "supported",
    )
    overall, gtsrb = (table[table.claim == name].iloc[0] for name in ("zeroshot_overall", "zeroshot_gtsrb"))
    assert (overall.family_size, gtsrb.family_size) == (1, 2)
    p_values = ["p_for", "p_for_holm", "min_attainable_p_holm", "p_two_sided", "p_against_holm"]
    assert list(overall[p_values]) == [1 / 128, 1 / 128, 1 / 128, 2 / 128, 1]
    assert list(gtsrb[p_values]) == [1 / 128, 2 / 128, 2 / 128, 2 / 128, 1]
    # 100 × 0.1 × (1 + mean of 0.001 to 0.007), in percentage points.
    assert overall.effect == pytest.approx(10.04)
    assert (overall.interval, overall.pairs, overall.differing_pairs) == ("interval", 7, 7)
    half = 2.4469 * 0.0216025 / 7**0.5  # the t interval of 0.01, 0.02, … 0.07
    assert [overall.low, overall.high] == pytest.approx([10.04 - half, 10.04 + half], abs=1e-4)
    saturation = table[table.claim == "saturation"].iloc[0]
    assert saturation.effect == pytest.approx(-0.3 * 1.004)


def test_the_verdict_comes_first_and_families_have_headings(claims: Callable) -> None:
    _, text = claims(TRUE, seeds=7)
    assert "| Verdict | Claim | Effect [95% CI] | p (one-sided, Holm) | Pairs |" in text
    assert (
        "| **Zero-shot accuracy, mean over the test sets** | | | | |\n"
        "| **supported** | CLOOB has a higher zero-shot accuracy than CLIP, averaged over the test sets "
        "| +10.04 points [+10.02, +10.06] | 0.008 for | 7 |\n"
        "| **Zero-shot accuracy on single test sets (2 claims, corrected together)** | | | | |\n"
    ) in text
    assert (
        "7 pairs of seeds that differ attain p = 0.008 at best: they can decide families of up to 6 claims."
        in text
    )


def test_few_pairs_of_seeds_decide_no_claim() -> None:
    remark = "no claim can be decided. The largest family here has 8, which need 8 pairs."
    assert decidable(1, [1, 8]) == f"1 pair of seeds that differs attains p = 0.500 at best: {remark}"
    assert decidable(4, [1, 8]) == f"4 pairs of seeds that differ attain p = 0.062 at best: {remark}"


def test_the_table_begins_with_the_verdicts_and_the_main_claim(claims: Callable) -> None:
    _, text = claims(TRUE, seeds=6)
    assert text.startswith(
        "# The claims of the paper\n\n- cc3m, RN50, epoch 31: of 19 claims 11 supported, 8 not enough runs. "
        "CLOOB − CLIP, mean zero-shot accuracy: +10.04 points [+10.02, +10.05] (supported).\n"
    )


def test_claims_are_contradicted_if_the_opposite_holds(claims: Callable) -> None:
    table, text = claims({name: values[::-1] for name, values in TRUE.items()}, seeds=7)
    # This includes saturation: here Hopfield retrieval reduces it.
    assert set(table.verdict) == {"contradicted"}
    assert (table.p_for == 1).all()
    assert (table.p_against == 1 / 128).all()
    assert "| −10.04 points [−10.06, −10.02] | 0.008 against | 7 |" in text


def test_seeds_that_do_not_differ_cannot_decide_a_claim(claims: Callable) -> None:
    table, _ = claims({name: (values[0],) * 4 for name, values in TRUE.items()}, seeds=7)
    assert set(table.verdict) == {"not enough runs"}
    assert (table.effect == 0).all()
    assert set(table.pairs) == {7}
    assert set(table.differing_pairs) == {0}
    assert set(table.min_attainable_p_holm) == {1}


def test_claims_are_undecided_if_seeds_disagree(claims: Callable) -> None:
    table, text = claims(TRUE, seeds=7, swap_odd_seeds=True)
    assert set(table.verdict) == {"undecided"}
    assert (table[["p_for_holm", "p_against_holm"]] > 0.05).all(axis=None)
    assert "**undecided**" not in text


def test_five_seeds_are_enough_for_claims_without_correction_only(claims: Callable) -> None:
    table, text = claims(TRUE, seeds=5)
    single = table.family_size == 1
    assert set(table[single].claim) == {"zeroshot_overall", "linear_probe_overall", "saturation"}
    assert set(table[single].verdict) == {"supported"}
    assert set(table[~single].verdict) == {"not enough runs"}
    assert set(table[~single].min_attainable_p_holm) == {2 / 32, 4 / 32}
    assert "| not enough runs | CLOOB has a higher zero-shot accuracy than CLIP on GTSRB |" in text
    assert "they can decide families of up to 1 claim. The largest family here has 4, which need 7" in text


def test_four_seeds_are_not_enough_for_any_claim(claims: Callable) -> None:
    table, _ = claims(TRUE, seeds=4)
    assert set(table.verdict) == {"not enough runs"}
    assert (table.min_attainable_p_holm >= 1 / 16).all()
    assert table.effect.notna().all()


def test_two_seeds_have_no_p_value(claims: Callable) -> None:
    table, text = claims(TRUE, seeds=2)
    assert set(table.verdict) == {"not enough runs"}
    assert " points (+10.01 to +10.02) | — | 2 |" in text
    assert " for |" not in text


def test_objectives_without_runs_are_named(claims: Callable) -> None:
    table, text = claims(TRUE, seeds=6, objectives=("clip", "cloob"))
    needs_ablation = table.claim.str.contains("eigenvalues|uniformity|saturation|ablation")
    assert set(table[needs_ablation].verdict) == {"not enough runs"}
    assert (table[needs_ablation].pairs == 0).all()
    assert set(table[~needs_ablation].verdict) == {"supported"}
    assert "InfoNCE + Hopfield: no runs in the config; add `infonce_hopfield` to `runs`" in text


def test_missing_results_are_named_in_footnotes(claims: Callable, tmp_path: Path) -> None:
    table, text = claims(
        TRUE,
        seeds=6,
        is_missing=lambda path: "seed6" in str(path) and "clip-" in str(path) and "gtsrb" in str(path),
    )
    verdicts = dict(zip(table.claim, table.verdict, strict=True))
    # GTSRB has five seeds, which can still be decided because Birdsnap with six is decided first.
    assert verdicts["zeroshot_gtsrb"] == verdicts["zeroshot_birdsnap"] == "supported"
    # The mean over the sets uses the five seeds that have both.
    assert table[table.claim == "zeroshot_overall"].pairs.item() == 5
    assert verdicts["zeroshot_overall"] == "supported"
    assert f"CLIP: build `{tmp_path}/evaluate/cc3m-clip-RN50-cc3m-seed6/epoch_31/zeroshot/gtsrb.json`" in text


def test_logs_without_saturation_are_named_in_a_footnote(claims: Callable, tmp_path: Path) -> None:
    table, _ = claims({**TRUE, "saturation": (0.0,) * 4}, seeds=6)
    assert table[table.claim == "saturation"].verdict.item() == "not enough runs"
    logs = sorted(tmp_path.glob("train/*/metrics.jsonl"))
    for log in logs:
        log.write_text(log.read_text().replace('"saturation"', '"other"'))
    results = [*logs, *tmp_path.glob("evaluate/*/*/*/*.json")]
    with pytest.raises(SystemExit):
        main(["report", "table", "claims", "--results", *map(str, results), "--csv", str(tmp_path / "c.csv")])
    assert (
        "no `saturation` in its result files (written by an older version); build them again"
        in (tmp_path / "c.md").read_text()
    )


def test_each_retrieval_set_is_tested_separately(tmp_path: Path) -> None:
    paths = []
    for objective, recall in (("clip", 0.1), ("cloob", 0.2)):
        for seed in range(1, 6):
            recalls = {
                f"{direction}_r1": recall + seed / 1000 for direction in ("image_to_text", "text_to_image")
            }
            for dataset in ("cc3m_validation", "coco"):
                paths.append(
                    write_result(tmp_path, run_of(objective, seed), 31, "retrieval", dataset, **recalls)
                )
    csv = tmp_path / "claims.csv"
    with pytest.raises(SystemExit) as exit_info:
        main(["report", "table", "claims", "--results", *map(str, paths), "--csv", str(csv)])
    assert exit_info.value.code == 0
    table = pd.read_csv(csv)
    table = table[table.protocol == "retrieval"]
    assert sorted(table.claim) == [
        f"retrieval_{direction}_{dataset}"
        for direction in ("image_to_text", "text_to_image")
        for dataset in ("cc3m_validation", "coco")
    ]
    assert table.hypothesis.is_unique
    assert set(table.p_for_holm) == {4 / 32}  # both directions on both sets are one family


def test_objectives_with_different_recipes_are_paired_by_seed(tmp_path: Path) -> None:
    paths = []
    recipes = {
        "clip": "clip_tuned",
        "infonce_hopfield": "shared",
        "infoloob": "shared",
        "cloob": "cloob_tuned",
    }
    for objective, recipe in recipes.items():
        for seed in range(1, 9):
            name = f"cc3m-{objective}-RN50-{recipe}-seed{seed}"
            run = run_of(objective, seed) | {"recipe": recipe, "name": name}
            accuracy = TRUE["accuracy"][OBJECTIVES.index(objective)] + seed / 1000
            # At the early epoch, one of eight seeds is clearly against the claim.
            for epoch, penalty in ((4, 0.3 if (objective, seed) == ("cloob", 8) else 0), (16, 0)):
                for dataset in SETS:
                    value = accuracy - penalty
                    paths.append(write_result(tmp_path, run, epoch, "zeroshot", dataset, accuracy=value))
            rate = 2e-3 if objective == "clip" else 1e-3
            paths.append(write_log(tmp_path, run, {4: 0.9, 16: 0.5}, recipe={"learning_rate": rate}))
    csvs = {name: tmp_path / f"{name}.csv" for name in ("claims", "ablation")}
    for name, csv in csvs.items():
        with pytest.raises(SystemExit) as exit_info:
            main(["report", "table", name, "--results", *map(str, paths), "--csv", str(csv)])
        assert exit_info.value.code == 0
    claims = pd.read_csv(csvs["claims"])
    assert set(claims.recipe) == {"clip_tuned/cloob_tuned/shared"}
    overall = claims[claims.claim == "zeroshot_overall"].set_index("epoch")
    assert list(overall.pairs) == [8, 8]
    assert list(overall.verdict) == ["undecided", "supported"]
    for csv in csvs.values():
        text = csv.with_suffix(".md").read_text()
        assert text.count("\n## cc3m, RN50, epoch ") == 2
        assert (
            "Recipes differ by objective: CLIP clip_tuned, InfoNCE + Hopfield shared, InfoLOOB shared, CLOOB "
            "cloob_tuned."
        ) in text
        assert "learning_rate (CLIP 0.002, InfoNCE + Hopfield 0.001, InfoLOOB 0.001, CLOOB 0.001)" in text
    # The ablation has the verdicts of each epoch beside the means.
    early, late = csvs["ablation"].with_suffix(".md").read_text().split("\n## ")[1:]
    assert "CLOOB > CLIP: undecided; CLOOB > InfoNCE + Hopfield: undecided" in early
    assert (
        "| Zero-shot, mean (%) | 20.45 ± 0.24 | 22.45 ± 0.24 | 24.45 ± 0.24 | **30.45 ± 0.24** "
        "| CLOOB > CLIP: supported; CLOOB > InfoNCE + Hopfield: supported; CLOOB > InfoLOOB: supported |"
    ) in late
    long = pd.read_csv(csvs["ablation"])
    assert dict(zip(long.objective, long.recipe, strict=True)) == recipes


def test_the_summary_lists_the_families_of_decided_claims(claims: Callable) -> None:
    _, text = claims(TRUE, seeds=7)
    assert "- Supported: Zero-shot accuracy, mean over the test sets (1 of 1); Zero-shot " in text
    assert "Uniformity (4 of 4)" in text
    assert "- Contradicted: none.\n\n## " in text
    opposite = {metric: tuple(reversed(numbers)) for metric, numbers in TRUE.items()}
    _, text = claims(opposite, seeds=7)
    assert "- Contradicted: Zero-shot accuracy, mean over the test sets (1 of 1); " in text
