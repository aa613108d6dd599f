"""Train-test overlap: near-duplicates of test images in a training corpus, and accuracy without them."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from cloob.common.errors import InputError
from cloob.report.load.inputs import Inputs
from cloob.report.load.overlap import COLUMNS, correct_images, read_overlaps
from cloob.report.load.released import RELEASED
from cloob.report.load.targets import brace_paths, is_run_file
from cloob.report.names import (
    ARCHITECTURES,
    DATASETS,
    OBJECTIVE_TITLES,
    Labels,
    display_name,
    positions,
)
from cloob.report.registry import Entry
from cloob.report.render.document import Cell, Document, Section
from cloob.report.render.numbers import interval, number, probability
from cloob.report.render.text import Prose, code_list
from cloob.report.stats.intervals import INTERVAL
from cloob.report.stats.overlap import OverlapEffect, overlap_effect
from cloob.report.stats.significance import LEVEL

TABLE = Entry(
    category="Data",
    help="test images that have a near-duplicate in a training corpus, and accuracy without them",
    caption="Test images that have a near-duplicate in a training corpus, and zero-shot accuracy with and "
    "without them: accuracies on them may be higher than on unseen images.",
    inputs=("overlap", "zeroshot", "baseline_overlap"),
)
_RUN_COLUMNS = ["architecture", "objective", "recipe", "seed", "epoch"]
_EFFECT_COLUMNS = [
    *("accuracy", "accuracy_clean", "accuracy_overlap", "overlap_low", "overlap_high"),
    *("difference", "difference_low", "difference_high", "p_value"),
]
_NUMBER_HEADER = ["Test set", "Test images", "Not comparable", "In the training corpus", "Percent"]
_EFFECT_HEADER = ["Test set", "Objective", "Runs", "All", "Clean", "Overlap", "All − Clean [99.5% CI]", "p"]
_KIND = ["corpus", "architecture", "epoch"]
_REMARKS = [
    "Accuracies are top-1 in percent of images, also where the metric of a test set is the mean per class. "
    "Overlap: the images in the training corpus. Clean: all others, including those not comparable. All − "
    "Clean: how much the accuracy of the test set is inflated, in percentage points; its interval follows "
    "from the 99.5% Clopper-Pearson interval of Overlap, with Clean taken as known. p: one-sided binomial "
    "test that the accuracy on Overlap is above that on Clean (as in section 5 of the paper of CLIP).",
    "Values are means over runs with different seeds. Interval and p-value take the mean number of correct "
    "images, because the runs classify the same images.",
]


def build(inputs: Inputs) -> tuple[Document, pd.DataFrame]:
    """A section per corpus with a row per test set; then a section per corpus, architecture and epoch.

    Released models whose training corpus is known follow in a section per corpus. The CSV has a row per
    corpus, test set, and run or released model; those without any have one row.
    """
    run_paths, paths = _split_paths(inputs.results, inputs.allow_missing)
    baselines = [baseline for baseline in inputs.baselines if baseline.corpus]
    missing = [path for path in (*run_paths, *paths) if not path.is_file()]
    if inputs.allow_missing:
        missing += [baseline.path for baseline in baselines if not baseline.path.is_file()]
        baselines = [baseline for baseline in baselines if baseline.path.is_file()]
    overlaps = read_overlaps([path for path in paths if path.is_file()])
    numbers = pd.DataFrame([overlap.numbers for overlap in overlaps.values()], columns=COLUMNS)
    correct = correct_images([path for path in run_paths if path.is_file()], baselines, overlaps)
    table = numbers.merge(correct, on=["corpus", "dataset"], how="left")  # in the order of `numbers`
    table[RELEASED] = table[RELEASED].fillna("")
    return _document(numbers, table, inputs.labels, missing), _long_table(table)


def _split_paths(results: Sequence[Path], allow_missing: bool) -> tuple[list[Path], list[Path]]:
    """The zero-shot results of runs, and the results of `cloob evaluate overlap`."""
    if not allow_missing and (missing := [path for path in results if not path.is_file()]):
        raise InputError(
            f"{missing[0]}: no such file; build it, or make the table from the existing files with "
            "--allow-missing"
        )
    of_runs = [path for path in results if is_run_file(path)]
    return of_runs, [path for path in results if not is_run_file(path)]


def _long_table(table: pd.DataFrame) -> pd.DataFrame:
    effects = [
        _effect_values(overlap_effect(row.images, row.correct, row.overlapping, row.correct_overlapping))
        if pd.notna(row.correct)
        else [None] * len(_EFFECT_COLUMNS)
        for row in table.itertuples()
    ]
    values = pd.DataFrame(effects, columns=_EFFECT_COLUMNS, dtype=float)
    runs = table[_RUN_COLUMNS].astype({"seed": "Int64", "epoch": "Int64"})
    released = [table[[RELEASED]]] if table[RELEASED].any() else []
    return pd.concat([table[COLUMNS], runs, *released, values], axis=1)


def _effect_values(effect: OverlapEffect) -> list[float]:
    accuracies = [effect.all, effect.clean, effect.overlap, effect.low, effect.high]
    return [*accuracies, *effect.difference, effect.p]


def _document(
    numbers: pd.DataFrame, table: pd.DataFrame, labels: Labels, missing: Sequence[Path]
) -> Document:
    sections = [
        _number_section(labels.corpus(str(corpus)), rows)
        for corpus, rows in numbers.groupby("corpus", sort=False)
    ]
    remarks: list[Prose] = []
    if len(numbers):
        distances = " or ".join(str(distance) for distance in sorted(numbers.distance.unique()))
        remarks += [
            "In the training corpus: near-duplicates, whose 256-bit perceptual hashes differ in at most "
            f"{distances} bits. This detects re-encoded and resized copies, but not mirrored ones or crops "
            "of more than 1%. Not comparable: images without structure, such as a single color.",
            "The image names are listed in the folder evaluate/overlap of the results.",
        ]
    measured = table[table.correct.notna()]
    overlapping = measured[measured.overlapping > 0]
    if len(overlapping):
        tests = len(overlapping.drop_duplicates([*_KIND, "dataset", "objective", "recipe", RELEASED]))
        of_runs = overlapping[overlapping[RELEASED] == ""]
        sections += _effect_sections(of_runs, labels, LEVEL / tests)
        sections += _released_sections(overlapping.drop(index=of_runs.index), labels, LEVEL / tests)
        remarks += _REMARKS
        remarks.append(
            f"Bold: p below {LEVEL} / {tests} = {LEVEL / tests:.2g}, Bonferroni's correction for the "
            f"{tests} {'row' if tests == 1 else 'rows'} with a p-value."
        )
    elif len(measured):
        remarks.append("No evaluated test set overlaps, so there are no accuracies to compare.")
    remarks += _missing_remark(missing)
    return Document("Train-test overlap", sections, remarks)


def _number_section(title: str, rows: pd.DataFrame) -> Section:
    cells = [
        [
            display_name(row.dataset, DATASETS),
            f"{row.images:,}",
            f"{row.images - row.compared:,}",
            f"{row.overlapping:,}",
            f"{100 * row.share:.2f}%",
        ]
        for row in rows.itertuples()
    ]
    images, compared = rows.training_images.iloc[0], rows.training_compared.iloc[0]
    remark = f"Training images: {images:,}, not comparable: {images - compared:,}."
    return Section(title, "lrrrr", _NUMBER_HEADER, cells, remarks=[remark])


def _effect_sections(table: pd.DataFrame, labels: Labels, level: float) -> list[Section]:
    """A section per corpus, architecture and epoch; a row per test set and objective."""
    order = {
        "corpus": positions(table.corpus),
        "architecture": positions(table.architecture, ARCHITECTURES),
        "dataset": positions(table.dataset, DATASETS),
        "objective": positions(table.objective, OBJECTIVE_TITLES),
    }
    table = table.sort_values(
        [*_KIND, "dataset", "objective", "recipe"],
        key=lambda column: column.map(order[column.name]) if column.name in order else column,
    )
    sections = []
    for (corpus, architecture, epoch), part in table.groupby(_KIND, sort=False):
        has_several_recipes = part.groupby("objective").recipe.nunique().max() > 1
        rows = [
            _effect_row(
                group,
                f"{OBJECTIVE_TITLES[objective]}{f', recipe {recipe}' if has_several_recipes else ''}",
                level,
            )
            for (_, objective, recipe), group in part.groupby(["dataset", "objective", "recipe"], sort=False)
        ]
        title = f"Accuracy: {labels.corpus(str(corpus))}, {architecture}, epoch {int(epoch)}"
        sections.append(Section(title, "llrrrrrr", _EFFECT_HEADER, rows))
    return sections


def _released_sections(table: pd.DataFrame, labels: Labels, level: float) -> list[Section]:
    """A section per corpus; a row per test set and released model."""
    header = ["Model" if name == "Objective" else name for name in _EFFECT_HEADER]
    return [
        Section(
            f"Accuracy of released models: {labels.corpus(str(corpus))}",
            "llrrrrrr",
            header,
            [
                _effect_row(group, title, level)
                for (_, title), group in part.groupby(["dataset", RELEASED], sort=False)
            ],
        )
        for corpus, part in table.groupby("corpus", sort=False)
    ]


def _effect_row(group: pd.DataFrame, name: str, level: float) -> list[Cell | str]:
    first = group.iloc[0]
    effect = overlap_effect(
        first.images, group.correct.mean(), first.overlapping, group.correct_overlapping.mean()
    )
    percent = [100 * value for value in (effect.all, effect.clean, effect.overlap, *effect.difference)]
    difference, low, high = percent[3:]
    return [
        display_name(first.dataset, DATASETS),
        name,
        f"{len(group)}",
        *(number(value) for value in percent[:3]),
        f"{number(difference, signed=True)}{interval(low, high, 2, INTERVAL, signed=True)}",
        Cell(probability(effect.p), bold=effect.p < level),
    ]


def _missing_remark(missing: Sequence[Path]) -> list[Prose]:
    if not missing:
        return []
    runs = brace_paths([path for path in missing if is_run_file(path)])
    others = [str(path) for path in missing if not is_run_file(path)]
    return [("Missing, to be built: ", *code_list([*runs, *others]), ".")]
