"""Check the config before any job runs; every problem is one line with its key and a remedy."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml

from cloob.common.yaml_file import find_pitfalls
from cloob.download.corpora.registry import READERS
from cloob.shards.local_sources import LOCAL_SOURCES
from cloob.workflow.consistency import inconsistencies
from cloob.workflow.evaluation import is_remote
from cloob.workflow.released import LOCAL_DIR, local_model
from cloob.workflow.runs import Config
from cloob.workflow.schema import Schema, complete_schema, schema_problems
from cloob.workflow.toy_data import use_toy_dataset


def check_config(config: Config, schema: Schema, files: Sequence[str] = ()) -> list[str]:
    """Check and normalize the config in place; return one line per problem.

    `schema` is workflow/schemas/config.schema.yaml, `files` are the config files, which are searched for
    values that YAML 1.1 does not read as they look. Cross-references are checked only if the schema holds.
    """
    problems = [f"{path}: {line}" for path in files for line in yaml_pitfalls(path)]
    remove_null_options(config)
    problems += schema_problems(config, complete_schema(schema))
    if problems:
        return problems
    normalize(config)
    return list(inconsistencies(config))


def yaml_pitfalls(path: str) -> Iterator[str]:
    """The values of a file that YAML 1.1 misreads.

    Files that are not YAML are JSON, or fail when Snakemake reads them.
    """
    with suppress(yaml.YAMLError, UnicodeDecodeError):
        yield from find_pitfalls(Path(path).read_text(encoding="utf-8"))


def remove_null_options(config: Any) -> None:
    """Remove null splits of corpora and null keys of splits, with which a second config file unsets them."""
    corpora = config.get("corpora")
    for corpus in corpora.values() if isinstance(corpora, dict) else ():
        for split in ("train", "validation") if isinstance(corpus, dict) else ():
            if corpus.get(split, ...) is None:
                del corpus[split]
            elif isinstance(corpus.get(split), dict):
                corpus[split] = {key: value for key, value in corpus[split].items() if value is not None}


def normalize(config: Config) -> None:
    """Complete a config that the schema accepts.

    What is null or not selected is removed, a test set without a folder gets that of its download, and paths
    are written as Snakemake compares them.
    """
    all_testsets, selected = config["testsets"], config["evaluate"]["testsets"]
    config["search"] = config.get("search") or {}
    removable = [(config, key) for key in ("corpora", "search", "testsets", "released_checkpoints")]
    for holder, key in [*removable, (config["evaluate"], "retrieval_sets")]:
        holder[key] = {name: value for name, value in holder[key].items() if value is not None}
    if selected != "all":
        config["testsets"] = {
            name: testset for name, testset in config["testsets"].items() if name in selected
        }
    left_out = set(all_testsets) - set(config["testsets"])
    use_toy_dataset(config)
    _simplify_paths(config)
    for name, testset in config["testsets"].items():
        testset["folder"] = testset.get("folder") or f"{config['results']}/evaluate/testsets/{name}"
        if testset.get("probe_train_set") in left_out:  # ImageNetV2 without ImageNet
            testset["probe_train_set"] = None


def _simplify_paths(config: Config) -> None:
    """Remove ./ and // from paths, because Snakemake treats the two spellings as different files."""
    splits = [
        corpus[split]
        for corpus in config["corpora"].values()
        for split in ("train", "validation")
        if split in corpus
    ]
    holders: list[tuple[dict[str, Any], Sequence[str]]] = [(config, ["results"])]
    for split in splits:
        reader = READERS.get(split.get("reader"))
        of_sources = [key for source in LOCAL_SOURCES.values() for key in (source.key, *source.inputs)]
        holders.append((split, [*of_sources, *(reader.inputs if reader else ())]))
    holders += [(testset, ["spec", "folder", "local_files"]) for testset in config["testsets"].values()]
    for settings in config["evaluate"]["retrieval_sets"].values():
        local = ["shards", "karpathy", "images"] + ["webdataset"] * (not is_remote(settings))
        holders.append((settings, local))
    holders += [(config["architectures"], list(config["architectures"]))]
    for model in config["released_checkpoints"].values():
        if (path := local_model(model)) is not None:
            is_folder = path != model.get("pretrained")
            key, prefix = ("open_clip", LOCAL_DIR) if is_folder else ("pretrained", "")
            # Without a slash it would be a tag.
            simple = str(Path(path)) if is_folder or "/" in str(Path(path)) else f"./{Path(path)}"
            model[key] = f"{prefix}{simple}"
    for holder, keys in holders:
        for key in keys:
            if isinstance(holder.get(key), list):
                holder[key] = [str(Path(path)) for path in holder[key]]
            elif holder.get(key) is not None:
                holder[key] = str(Path(holder[key]))
