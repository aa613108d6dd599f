"""Verdicts on the claims for runs in which all claims hold, none holds, or seeds are too few."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from cloob.cli import main
from tests.helpers.result_writers import run_of, write_log, write_result

OBJECTIVES = ("clip", "infonce_hopfield", "infoloob", "cloob")
# Two sets: six seeds can attain p = 1/64, and 2/64 after Holm's correction.
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
    ) -> tuple[pd.DataFrame, str]:
        paths = []
        for index, objective in enumerate(OBJECTIVES):
            for seed in range(1, seeds + 1) if objective in objectives else ():
                run = run_of(objective, seed)
                value = {metric: numbers[index] * (1 + seed / 1000) for metric, numbers in values.items()}
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
    table, text = claims(TRUE, seeds=6)
    assert dict(zip(table.claim, table.verdict, strict=True)) == dict.fromkeys(
        [
            *("zeroshot_overall", "zeroshot_birdsnap", "zeroshot_gtsrb"),
            *("linear_probe_overall", "linear_probe_birdsnap", "linear_probe_gtsrb"),
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
    assert (overall.p, overall.p_corrected, overall.min_attainable_p_corrected) == (1 / 64, 1 / 64, 1 / 64)
    assert (gtsrb.p, gtsrb.p_corrected, gtsrb.min_attainable_p_corrected) == (1 / 64, 2 / 64, 2 / 64)
    # 100 × 0.1 × (1 + mean of 0.001 to 0.006), in percentage points.
    assert overall.effect == pytest.approx(10.035)
    assert overall.low < overall.effect < overall.high
    saturation = table[table.claim == "saturation"].iloc[0]
    assert saturation.effect == pytest.approx(-0.3 * 1.0035)
    assert "than CLIP, averaged over the test sets | +10.04 (points) | " in text
    assert "not enough runs` if the smallest p that this number of pairs can attain" in text


def test_no_claim_is_supported_if_the_opposite_holds(claims: Callable) -> None:
    table, _ = claims({name: values[::-1] for name, values in TRUE.items()}, seeds=6)
    # This includes saturation: here Hopfield retrieval reduces it.
    assert set(table.verdict) == {"not supported"}
    assert (table.p == 1).all()


def test_claims_are_not_supported_without_a_difference(claims: Callable) -> None:
    table, _ = claims({name: (values[0],) * 4 for name, values in TRUE.items()}, seeds=6)
    assert set(table.verdict) == {"not supported"}
    assert (table.effect == 0).all()


def test_five_seeds_are_enough_for_claims_without_correction_only(claims: Callable) -> None:
    table, text = claims(TRUE, seeds=5)
    single = table.claim.str.contains("birdsnap|gtsrb")
    assert set(table[single].verdict) == {"not enough runs"}
    assert set(table[single].min_attainable_p_corrected) == {2 / 32}
    assert set(table[~single].verdict) == {"supported"}
    assert "| 5 | 0.062 | 0.062 | not enough runs |" in text


def test_four_seeds_are_not_enough_for_any_claim(claims: Callable) -> None:
    table, _ = claims(TRUE, seeds=4)
    assert set(table.verdict) == {"not enough runs"}
    assert (table.min_attainable_p_corrected >= 1 / 16).all()
    assert table.effect.notna().all()


def test_objectives_without_runs_are_named(claims: Callable) -> None:
    table, text = claims(TRUE, seeds=6, objectives=("clip", "cloob"))
    needs_ablation = table.claim.str.contains("eigenvalues|uniformity|saturation")
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
    assert verdicts["zeroshot_gtsrb"] == "not enough runs"
    # The mean over the sets uses the five seeds that have both; Birdsnap has all six.
    assert verdicts["zeroshot_overall"] == verdicts["zeroshot_birdsnap"] == "supported"
    assert f"CLIP: build `{tmp_path}/evaluate/cc3m-clip-RN50-cc3m-seed6/epoch_31/zeroshot/gtsrb.json`" in text


def test_logs_without_saturation_are_named_in_a_footnote(claims: Callable, tmp_path: Path) -> None:
    table, _ = claims({**TRUE, "saturation": (0.0,) * 4}, seeds=6)
    assert table[table.claim == "saturation"].verdict.item() == "not supported"
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
    # Retrieval sets are not a family of tests: no correction.
    assert set(table.p_corrected) == {1 / 32}
