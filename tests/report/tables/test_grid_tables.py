"""Tables of result files: values, published numbers, significance, bold cells and missing results."""

import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from cloob.cli import main
from cloob.report.load.result_set import PROTOCOLS
from cloob.report.registry import tables
from tests.helpers.repository import ROOT
from tests.helpers.result_writers import result_path, run_of, write_log, write_result

PAPER = ROOT / "config" / "paper_results.csv"
# Percent, five seeds each: CLOOB is better on both sets, on GTSRB not with every seed.
ACCURACIES = {
    ("clip", "birdsnap"): (2.0, 2.1, 2.2, 2.3, 2.4),
    ("clip", "gtsrb"): (7.0, 8.0, 9.0, 7.5, 8.5),
    ("cloob", "birdsnap"): (3.0, 3.3, 3.1, 3.4, 3.7),
    ("cloob", "gtsrb"): (7.2, 8.3, 8.6, 8.0, 9.1),
}


@pytest.fixture
def table(tmp_path: Path) -> Callable[..., tuple[pd.DataFrame, str]]:
    """Make a table as the pipeline does; returns its CSV and its Markdown."""

    def make(
        name: str, paths: list[Path], *flags: str, title_suffix: str = "", status: int = 0
    ) -> tuple[pd.DataFrame, str]:
        csv = tmp_path / "tables" / f"{name}.csv"
        options = ["--paper", str(PAPER), "--csv", str(csv), "--title-suffix", title_suffix]
        options += ["--corpus-title", "cc3m=Conceptual Captions", "--corpus-title", "yfcc15m=YFCC"]
        with pytest.raises(SystemExit) as exit_info:
            main(["report", "table", name, "--results", *map(str, paths), *flags, *options])
        assert exit_info.value.code == status
        if status:
            assert not csv.exists()
            return pd.DataFrame(), ""
        assert r"\toprule" in csv.with_suffix(".tex").read_text()
        return pd.read_csv(csv, float_precision="round_trip"), csv.with_suffix(".md").read_text()

    return make


def accuracies(root: Path, architecture: str = "RN50", protocol: str = "zeroshot") -> list[Path]:
    return [
        write_result(
            root,
            run_of(objective, seed, architecture=architecture),
            31,
            protocol,
            dataset,
            accuracy=value / 100,
            accuracy_top5=None,
        )
        for (objective, dataset), values in ACCURACIES.items()
        for seed, value in enumerate(values, start=1)
    ]


HEADER = (
    "| Test set | CLIP | published (difference) | CLOOB | published (difference) | CLOOB − CLIP [95% CI] "
    "| p (two-sided, Holm) | Chance |"
)
BIRDSNAP = (
    "| Birdsnap | 2.20 ± 0.16 | 2.26 ± 0.20 (−0.06, p 0.614) | **3.30 ± 0.27** "
    "| 3.06 ± 0.30 (+0.24, p 0.223) | +1.10 [+0.90, +1.30] | 0.125 | 0.20 |"
)
# Four seeds are better, with ranks 1, 2, 4 and 5: 5 of 32 sign patterns have this rank sum or a larger one.
GTSRB = (
    "| GTSRB | 8.00 ± 0.79 | 7.66 ± 1.07 (+0.34, p 0.585) | **8.24 ± 0.71** | 6.38 ± 2.11 (+1.86, p 0.122) "
    "| +0.24 [−0.25, +0.73] | 0.312 | 2.33 |"
)
EXPECTED = f"""\
# Zero-shot accuracy (%)

## Conceptual Captions, RN50, epoch 31

{HEADER}
| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |
{BIRDSNAP}
{GTSRB}
| Mean | 5.10 ± 0.44 | — | **5.77 ± 0.46** | — | +0.67 [+0.34, +1.00] | 0.062 | 1.26 |

Seeds: CLIP 5, CLOOB 5.

5 pairs of seeds that differ attain p = 0.062 at best, two-sided, and 0.125 after Holm's correction over 2 \
rows: they cannot decide any single row of it.

"""


def test_zeroshot_table_has_the_form_of_the_papers_tables(table: Callable, tmp_path: Path) -> None:
    _, text = table("zeroshot", accuracies(tmp_path))
    assert text.startswith(EXPECTED)
    assert "Bold: the best mean of a row; this is not a test." in text
    assert "the two-sided p of Welch's test. This p is not corrected" in text


def test_long_csv_has_every_value_and_the_statistics_over_seeds(table: Callable, tmp_path: Path) -> None:
    long, _ = table("zeroshot", accuracies(tmp_path))
    measured = long[long.statistic == "measured"]
    assert len(measured) == 20
    clip = measured[(measured.objective == "clip") & (measured.dataset == "birdsnap")]
    assert dict(zip(clip.seed.astype(int), clip.value, strict=True)) == {
        seed: value / 100 for seed, value in enumerate(ACCURACIES["clip", "birdsnap"], start=1)
    }
    assert set(clip.chance) == {1 / 500}
    aggregates = long[(long.objective == "cloob") & (long.dataset == "birdsnap") & long.seed.isna()]
    numbers = dict(zip(aggregates.statistic, aggregates.value, strict=True))
    assert numbers == pytest.approx(
        {
            "seeds": 5,
            "mean": 0.033,
            "std": 0.0027386127875,
            "ci_low": numbers["ci_low"],
            "ci_high": numbers["ci_high"],
            "published": 0.0306,
            "published_std": 0.003,
            "difference": 0.0024,
            "difference_p": numbers["difference_p"],
            "minus_clip": 0.011,
            "minus_clip_pairs": 5,
            "minus_clip_p": 2 / 32,
            "minus_clip_p_holm": 4 / 32,
            "minus_clip_ci_low": 0.011 - 2.7764451 * 0.0015811388 / 5**0.5,
            "minus_clip_ci_high": 0.011 + 2.7764451 * 0.0015811388 / 5**0.5,
        },
        abs=1e-9,
    )
    assert 0.0297 < numbers["ci_low"] < 0.033 < numbers["ci_high"] < 0.0367


def test_output_does_not_depend_on_the_order_of_the_files(table: Callable, tmp_path: Path) -> None:
    paths = accuracies(tmp_path)
    files = [tmp_path / "tables" / f"zeroshot.{kind}" for kind in ("csv", "md", "tex", "sources.json")]
    table("zeroshot", paths)
    first = [path.read_bytes() for path in files]
    table("zeroshot", paths[::-1])
    assert [path.read_bytes() for path in files] == first


def test_toy_dataset_and_other_architectures_are_not_compared_with_the_paper(
    table: Callable, tmp_path: Path
) -> None:
    toy, other = tmp_path / "toy", tmp_path / "other"
    _, text = table("zeroshot", accuracies(toy), title_suffix="toy dataset, not the paper")
    assert text.startswith("# Zero-shot accuracy (%) · toy dataset, not the paper")
    assert "published (" not in text
    assert "The paper reports no numbers for these runs." in text
    _, text = table("zeroshot", accuracies(other, architecture="RN_small"))
    assert "published (" not in text


def test_architectures_are_in_the_order_of_the_paper(table: Callable, tmp_path: Path) -> None:
    architectures = ["another", "RN50x4", "RN50", "RN101"]
    paths = [
        write_result(
            *(tmp_path, run_of("clip", 1, "yfcc15m", architecture), 28, "zeroshot", "birdsnap"), accuracy=0.2
        )
        for architecture in architectures
    ]
    long, text = table("zeroshot", paths)
    order = ["RN50", "RN101", "RN50x4", "another"]
    assert [line for line in text.splitlines() if line.startswith("## ")] == [
        f"## YFCC, {architecture}, epoch 28" for architecture in order
    ]
    assert list(long[long.statistic == "measured"].architecture) == order


def test_single_seed_has_neither_deviation_nor_test(table: Callable, tmp_path: Path) -> None:
    paths = [
        write_result(tmp_path, run_of(objective, 1, "yfcc15m"), 28, "zeroshot", "birdsnap", accuracy=value)
        for objective, value in (("clip", 0.218), ("cloob", 0.3))
    ]
    _, text = table("zeroshot", paths)
    assert (
        "| CLIP | published (difference) | CLOOB | published (difference) | CLOOB − CLIP | Chance |" in text
    )
    assert "| Birdsnap | 21.80 | 21.8 (0.00) | **30.00** | 28.9 (+1.10) | +8.20 | 0.20 |" in text


def test_missing_results_are_dashes_with_footnotes_that_name_the_targets(
    table: Callable, tmp_path: Path
) -> None:
    paths = accuracies(tmp_path)
    for path in paths:
        if "cloob" in str(path) and "gtsrb" in str(path):
            path.unlink()
        if "seed3" in str(path) and "clip" in str(path):
            path.unlink()
    table("zeroshot", paths, status=2)
    long, text = table("zeroshot", paths, "--allow-missing")
    assert "| Birdsnap | 2.20 ± 0.18 [a] | 2.26" in text
    assert (
        "| GTSRB | 7.75 ± 0.65 [a] | 7.66 ± 1.07 (+0.09, p 0.881) | — [b] | 6.38 ± 2.11 | — | — | 2.33 |"
        in text
    )
    [mean] = [line for line in text.splitlines() if line.startswith("| Mean")]
    assert mean.endswith(" [a] | — | — [b] | — | — | — | 1.26 |")
    root = tmp_path / "evaluate"
    assert (
        f"- [a] CLIP: 1 of 5 seeds missing; build `{root}/cc3m-clip-RN50-cc3m-seed3/epoch_31/zeroshot/"
        "{birdsnap,gtsrb}.json`\n"
    ) in text
    assert (
        f"- [b] CLOOB: 5 of 5 seeds missing; build `{root}/cc3m-cloob-RN50-cc3m-seed{{1,2,3,4,5}}/"
        "epoch_31/zeroshot/gtsrb.json`\n"
    ) in text
    assert (long.statistic == "missing").sum() == 7


def test_without_any_results_every_cell_is_a_dash(table: Callable, tmp_path: Path) -> None:
    paths = [
        result_path(tmp_path, run_of(objective, seed), 31, protocol, dataset)
        for objective in ("clip", "cloob")
        for seed in (1, 2)
        for protocol, dataset in (
            ("zeroshot", "gtsrb"),
            ("linear_probe", "gtsrb"),
            ("retrieval", "cc3m_validation"),
            ("embedding_structure", "cc3m_validation"),
        )
    ]
    for name in ("zeroshot", "linear_probe", "retrieval", "embedding_structure"):
        long, text = table(name, [path for path in paths if f"/{name}/" in str(path)], "--allow-missing")
        assert "2 of 2 seeds missing" in text
        assert set(long.statistic) - {"published", "published_std"} == {"seeds", "missing"}
    _, text = table("ablation", paths, "--allow-missing")
    assert "| Zero-shot, mean (%) | — [a] |" in text
    long, _ = table("claims", paths, "--allow-missing")
    assert set(long.verdict) == {"not enough runs"}


def test_each_kind_of_features_has_a_section_of_linear_probes(table: Callable, tmp_path: Path) -> None:
    _, text = table("linear_probe", accuracies(tmp_path, protocol="linear_probe"))
    assert "## Conceptual Captions, RN50, epoch 31, features after the projection\n" in text
    assert "## Conceptual Captions, RN50, epoch 31, features before the projection\n" in text
    assert "| Birdsnap | 2.20 ± 0.16 | **3.30 ± 0.27** |" in text
    # The test files have half the accuracy before the projection.
    assert "| Birdsnap | 1.10 ± 0.08 | **1.65 ± 0.14** |" in text


def test_linear_probes_that_did_not_converge_are_named(table: Callable, tmp_path: Path) -> None:
    paths = accuracies(tmp_path, protocol="linear_probe")
    _, text = table("linear_probe", paths)
    assert "converge" not in text
    result = json.loads(paths[0].read_text())
    result["probes"][1]["converged"] = False
    paths[0].write_text(json.dumps(result))
    _, text = table("linear_probe", paths)
    assert (
        f"converge (see the warnings in the logs of these jobs): {result['run']['name']}, epoch 31, birdsnap."
        in text
    )


def retrieval_and_structure(root: Path) -> list[Path]:
    paths = []
    for rank, objective in enumerate(("clip", "infonce_hopfield", "infoloob", "cloob")):
        for seed in range(1, 6):
            run, value = run_of(objective, seed), rank + seed / 10
            paths.append(
                write_result(
                    root,
                    run,
                    31,
                    "retrieval",
                    "cc3m_validation",
                    image_to_text_r1=value / 100,
                    image_to_text_mean_rank=50 - value,
                )
            )
            paths.append(
                write_result(
                    root,
                    run,
                    31,
                    "embedding_structure",
                    "cc3m_validation",
                    effective_eigenvalues_image=100 + value,
                    ajne_image=57.6 - value,
                    modality_gap=0.5 + value,
                )
            )
    return paths


def test_higher_recall_and_lower_rank_are_better(table: Callable, tmp_path: Path) -> None:
    _, text = table(
        "retrieval", [path for path in retrieval_and_structure(tmp_path) if "/retrieval/" in str(path)]
    )
    header = "| Metric | CLIP | InfoNCE + Hopfield | InfoLOOB | CLOOB | CLOOB − CLIP [95% CI] | p "
    assert f"{header}(two-sided, Holm) |" in text
    assert (
        "| Image to text, R@1 (%) | 0.30 ± 0.16 | 1.30 ± 0.16 | 2.30 ± 0.16 | **3.30 ± 0.16** | "
        "+3.00 [+3.00, +3.00] | 0.125 |"
    ) in text
    assert (
        "| Image to text, mean rank ↓ | 49.7 ± 0.2 | 48.7 ± 0.2 | 47.7 ± 0.2 | **46.7 ± 0.2** | "
        "−3.0 [−3.0, −3.0] | 0.125 |" in text
    )
    # Metrics that the files lack are gaps.
    assert "| Text to image, R@1 (%) | — | — | — | — | — | — |" in text


def test_embedding_structure_is_compared_with_the_papers_figure(table: Callable, tmp_path: Path) -> None:
    _, text = table(
        "embedding_structure",
        [path for path in retrieval_and_structure(tmp_path) if "/embedding_structure/" in str(path)],
    )
    assert (
        "| Ajne statistic, image ↓ | 57.30 ± 0.16 | 56.30 ± 0.16 | 55.30 ± 0.16 | **54.30 ± 0.16** | "
        # Corrected over the four rows of uniformity.
        "−3.00 [−3.00, −3.00] | 0.250 |\n"
        "| published (difference) | 57.6 (−0.30) | 44.3 (+12.00) | 4.4 (+50.90) | 4.1 (+50.20) |  |  |\n"
    ) in text
    # Neither direction is better: nothing bold, no p.
    [gap] = [line for line in text.splitlines() if line.startswith("| Modality gap")]
    assert "**" not in gap
    assert gap.endswith("| — |")


def test_ablation_names_objectives_without_runs(table: Callable, tmp_path: Path) -> None:
    _, text = table("ablation", accuracies(tmp_path))
    assert "| Zero-shot, mean (%) | 5.10 ± 0.44 | — [a] | — [b] | **5.77 ± 0.46** |" in text
    assert "- [a] InfoNCE + Hopfield: no runs in the config; add `infonce_hopfield` to `runs`" in text


def test_the_ablation_leaves_p_values_to_the_claims(table: Callable, tmp_path: Path) -> None:
    """Its rows are not complete families."""
    paths = accuracies(tmp_path)
    ablation, _ = table("ablation", paths)
    assert "minus_clip_ci_low" in set(ablation.statistic)
    assert [name for name in ablation.statistic if name.endswith(("_p", "_p_holm"))] == []
    claims, _ = table("claims", paths)
    assert claims[claims.pairs > 0].p_for_holm.notna().all()


def test_same_result_under_two_paths_is_an_error(table: Callable, tmp_path: Path, capfd) -> None:
    paths = accuracies(tmp_path)
    other = tmp_path / "copy" / paths[0].relative_to(tmp_path)
    other.parent.mkdir(parents=True)
    other.write_bytes(paths[0].read_bytes())
    table("zeroshot", [*paths, other], status=2)
    assert "given twice" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not JSON"),
        ('{"run": {}}', "not a result of `cloob evaluate`, zeroshot"),
        ('{"run": {"objective": "siglip"}}', "unknown objective 'siglip'; choose from clip"),
        ('{"run": {"objective": "clip"}, "protocol": "retrieval"}', "protocol is retrieval"),
    ],
)
def test_file_that_is_not_a_result_is_an_error_that_names_it(
    table: Callable, tmp_path: Path, capfd, text: str, message: str
) -> None:
    path = result_path(tmp_path, run_of("clip", 1), 31, "zeroshot", "gtsrb")
    path.parent.mkdir(parents=True)
    path.write_text(text)
    table("zeroshot", [path], status=2)
    error = capfd.readouterr().err.strip()
    assert message in error
    assert str(path) in error
    assert "\n" not in error


def test_results_of_another_protocol_make_no_table(table: Callable, tmp_path: Path, capfd) -> None:
    table("retrieval", accuracies(tmp_path), status=2)
    assert "no input file belongs to the table retrieval" in capfd.readouterr().err


def test_every_table_says_how_recipes_differ_and_by_which_pairs_they_were_chosen(
    table: Callable, tmp_path: Path
) -> None:
    files, logs = [], []
    for objective, rate in (("clip", 8e-3), ("cloob", 1e-3)):
        for seed in (1, 2):
            name = f"cc3m-{objective}-RN50-cc3m@lr-seed{seed}"
            run = run_of(objective, seed) | {"recipe": "cc3m@lr", "name": name}
            logs.append(write_log(tmp_path, run, {31: 0.5}, recipe={"learning_rate": rate}))
            for protocol, metric in (
                ("zeroshot", "accuracy"),
                ("linear_probe", "accuracy"),
                ("retrieval", "image_to_text_r1"),
                ("embedding_structure", "ajne_image"),
            ):
                files.append(write_result(tmp_path, run, 31, protocol, "set", **{metric: 0.1 + rate}))
    differ = "Hyperparameters that differ by objective: learning_rate (CLIP 0.008, CLOOB 0.001)."
    chosen = "The recipes cc3m@lr were chosen by R@1 on the validation pairs of their search; results on the "
    for name in PROTOCOLS:
        assert "logs" in tables()[name].inputs
        results = [path for path in files if path.parent.name == name]
        without, _ = table(name, results)
        long, text = table(name, [*results, *logs])
        pd.testing.assert_frame_equal(long, without)
        assert differ in text
        assert (chosen in text) == (name in ("retrieval", "embedding_structure"))
    for name in ("claims", "ablation"):
        _, text = table(name, [*files, *logs])
        assert differ in text
        assert chosen in text
    # A log that is missing leaves no gap in a table of results.
    logs[0].unlink()
    long, text = table(
        "zeroshot", [*(path for path in files if "/zeroshot/" in str(path)), *logs], "--allow-missing"
    )
    assert "missing" not in set(long.statistic)
    assert differ in text


def test_two_seeds_have_ranges_and_no_test(table: Callable, tmp_path: Path) -> None:
    paths = [path for path in accuracies(tmp_path) if path.parents[2].name[-1] in "12"]
    _, text = table("zeroshot", paths)
    assert "| CLOOB | published (difference) | CLOOB − CLIP (range) | Chance |" in text
    assert (
        "| Birdsnap | 2.05 (2.00 to 2.10) | 2.26 ± 0.20 (−0.21) | **3.15 (3.00 to 3.30)** "
        "| 3.06 ± 0.30 (+0.09) | +1.10 (+1.00 to +1.20) | 0.20 |"
    ) in text
    assert "pairs of seeds that differ" not in text


def test_a_row_of_two_pairs_has_no_p_value_beside_rows_that_are_tested(
    table: Callable, tmp_path: Path
) -> None:
    paths = accuracies(tmp_path)
    for path in [path for path in paths if "cloob" in str(path) and path.stem == "gtsrb"][2:]:
        paths.remove(path)
    _, text = table("zeroshot", paths)
    lines = {line.split(" | ")[0]: line for line in text.splitlines()}
    assert "| +1.10 [+0.90, +1.30] | 0.125 |" in lines["| Birdsnap"]
    assert "| +0.25 (+0.20 to +0.30) | — |" in lines["| GTSRB"]
    assert "| — | 1.26 |" in lines["| Mean"]


def test_single_run_has_an_interval_of_seed_and_images_next_to_runs_with_several_seeds(
    table: Callable, tmp_path: Path
) -> None:
    single = write_result(tmp_path, run_of("clip", 1, "yfcc15m"), 28, "zeroshot", "birdsnap", accuracy=0.218)
    content = json.loads(single.read_text())
    single.write_text(json.dumps(content | {"intervals": {"accuracy": [0.2, 0.236]}}))
    long, text = table("zeroshot", [*accuracies(tmp_path), single])
    [line] = [line for line in text.split("## YFCC")[1].splitlines() if line.startswith("| Birdsnap")]
    # On the logit scale, the seeds of both objectives deviate by 0.0735 and 0.0858 (pooled 0.0799), and the
    # images by 0.0539: √(0.0799² + 0.0539²) = 0.0964, times t = 2.11 of 16.9 degrees of freedom.
    assert line.startswith("| Birdsnap | 21.80 [18.53, 25.46] | 21.8 (0.00) |")
    ends = long[(long.corpus == "yfcc15m") & long.statistic.isin(["ci_low", "ci_high"])]
    assert list(ends.value.round(4)) == [0.1853, 0.2546]
