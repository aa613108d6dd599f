"""Convert a test set in CLIP_benchmark's webdataset layout to class folders, and compare it with the spec."""

import re
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from cloob.common.atomic_files import atomic_write
from cloob.common.errors import InputError
from cloob.evaluate.testsets.class_folders import have_same_words, names_of_other_classes
from cloob.evaluate.testsets.leftovers import abbreviated
from cloob.evaluate.testsets.spec import TestSetSpec
from cloob.evaluate.testsets.spec_changes import write_spec_changes
from cloob.evaluate.webdataset.folder import (
    CLASS_NAMES,
    class_names,
    dataset_type,
    read_samples,
    tars_of_split,
    templates,
)

_LABEL = re.compile(rb"\s*([0-9]{1,9})\s*")


def convert_webdataset(
    spec: TestSetSpec, root: Path, out: Path, splits: Sequence[str], webdataset_prompts: bool
) -> TestSetSpec:
    """Write the images of `splits` (test, train) to class folders in `out`; returns the spec of the result.

    Class names and prompts are compared with those of the folder, and differences are printed. They are the
    spec's, or those of the folder with `webdataset_prompts`. The returned spec has no validation split,
    because the layout has none. Raises `InputError` if the folder cannot belong to the spec: another number
    or order of the classes, labels out of range.
    """
    if (kind := dataset_type(root)) != "classification":
        remedy = (
            "list it in `evaluate.retrieval_sets`"
            if kind == "retrieval"
            else "test sets with one label per image can be evaluated"
        )
        raise InputError(f"{root / 'dataset_type.txt'}: {kind[:40]!r} is not a classification set; {remedy}")
    out.mkdir(parents=True, exist_ok=True)
    if (root / CLASS_NAMES).exists():
        shutil.copyfile(root / CLASS_NAMES, out / CLASS_NAMES)  # for a spec with classes: {file: …}
    if spec.classes == "folder_names" and spec.folders is None:
        raise InputError(
            f"{spec.path}: key 'classes' is folder_names, but webdataset tars have no folders; list the "
            f"names, or give {{file: {CLASS_NAMES}}}"
        )
    names = spec.class_names(out)
    changes: dict[str, Any] = _compare(spec, root, names, webdataset_prompts) | {"validation": None}
    folders = spec.folders or [f"{label:0{len(str(len(names)))}d}" for label in range(len(names))]
    for split in splits:
        _extract_split(root, split, out / str(spec.folder_of(split)), folders)
    write_spec_changes(out, changes)
    return replace(spec, **changes)


def _extract_split(root: Path, split: str, out: Path, folders: Sequence[str]) -> None:
    for folder in folders:  # including folders that remain empty: they keep their label
        (out / folder).mkdir(parents=True)
    for number, sample in enumerate(read_samples(tars_of_split(root, split), "cls")):
        match = _LABEL.fullmatch(sample.annotation)
        if not match or int(match[1]) >= len(folders):
            raise InputError(
                f"{sample} has the label {sample.annotation[:20]!r}, not a number from 0 to "
                f"{len(folders) - 1}; correct its .cls, or the classes of the spec"
            )
        name = f"{int(sample.tar.stem):05d}_{number:07d}.{sample.image_suffix}"
        with atomic_write(out / folders[int(match[1])] / name) as temporary:
            temporary.write_bytes(sample.image())


def _compare(
    spec: TestSetSpec, root: Path, names: list[str], webdataset_prompts: bool
) -> dict[str, list[str] | None]:
    """Print the differences; return the folder's class names and prompts if they are to be used."""
    their_names, their_templates = class_names(root), templates(root)
    if their_names is None:
        print(f"{root}: no {CLASS_NAMES}, so the order of the labels is not checked")
    else:
        _check_order(spec, root / CLASS_NAMES, names, their_names)
    if their_templates is not None:
        _report_prompts(spec, root, their_templates)
    if not webdataset_prompts:
        return {}
    if their_names is None or their_templates is None:
        raise InputError(
            f"{root}: lacks class names or prompts, which `prompts: webdataset` requires; set `prompts: spec`"
        )
    return {"classes": their_names, "prompts": their_templates}


def _check_order(spec: TestSetSpec, path: Path, names: list[str], their_names: list[str]) -> None:
    if len(their_names) != len(names):
        raise InputError(
            f"{path}: {len(their_names)} class names where {spec.path} has {len(names)}; give the folder of "
            f"{spec.title}, or correct the spec"
        )
    # Homonyms, such as ImageNet's dog and sweater "cardigan", are no evidence if the other class is in place.
    misplaced = [
        (name, label, named_label)
        for name, label, named_label in names_of_other_classes(their_names, names)
        if not have_same_words(their_names[named_label], names[named_label])
    ]
    if misplaced:
        name, label, named_label = misplaced[0]
        raise InputError(
            f"{path}: line {label + 1}: {name!r} is label {label} here and label {named_label} in "
            f"{spec.path} ({len(misplaced)} of {len(names)} classes have the name of another), so the labels "
            "would refer to other classes; correct the order in the spec, or give another folder"
        )
    different = [
        f"{label}: {theirs!r}, spec: {ours!r}"
        for label, (theirs, ours) in enumerate(zip(their_names, names, strict=True))
        if theirs != ours
    ]
    if different:
        print(f"{path}: {len(different)} of {len(names)} names differ from {spec.path}: {_some(different)}")
    else:
        print(f"{path}: the {len(names)} class names of {spec.path}, in the same order")


def _report_prompts(spec: TestSetSpec, root: Path, their_templates: list[str]) -> None:
    ours = spec.prompt_templates()
    only_here = [prompt for prompt in their_templates if prompt not in ours]
    only_ours = [prompt for prompt in ours if prompt not in their_templates]
    if not only_here and not only_ours:
        print(f"{root}: the {len(ours)} prompts of {spec.path}")
        return
    parts = [
        f"{len(prompts)} only {where} ({abbreviated(prompts)})"
        for where, prompts in (("here", only_here), ("in the spec", only_ours))
        if prompts
    ]
    print(f"{root}: the prompts differ from {spec.path}: {', '.join(parts)}")


def _some(differences: list[str]) -> str:
    return "; ".join(differences[:3]) + ("; …" if len(differences) > 3 else "")
