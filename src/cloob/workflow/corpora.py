"""The corpora: the splits that the runs need, their sources, and the files of download and shards."""

from typing import Any, NamedTuple

from cloob.common.errors import InputError
from cloob.download.corpora.registry import READERS
from cloob.shards.local_sources import LOCAL_SOURCES, LocalSource
from cloob.workflow.flags import flags, named_paths
from cloob.workflow.runs import Config, lookup, planned_runs
from cloob.workflow.search import searches, used_searches, validation_corpus

SPLITS = ("train", "validation")
# Keys of a split that are not options of its reader.
_COMMON_KEYS = ("reader", "num_jobs", *LOCAL_SOURCES)

# Keys of `download` that change how fast images are downloaded, and not which.
_FETCH_RESOURCES = ("processes", "threads")


class Split(NamedTuple):
    """The training or validation part of a corpus."""

    corpus: str
    split: str

    @property
    def name(self) -> str:
        """`corpus/split`, which is also its folder below `results/download` and `results/shards`."""
        return f"{self.corpus}/{self.split}"


def configured_splits(config: Config) -> dict[Split, dict[str, Any]]:
    """Every split that the config describes, used or not, with its settings."""
    return {
        Split(corpus, split): settings[split]
        for corpus, settings in config["corpora"].items()
        for split in SPLITS
        if settings.get(split)
    }


def split_settings(config: Config, split: Split) -> dict[str, Any]:
    """The settings of a split. Raises `InputError` if its corpus has no such split."""
    configured = {other.name: settings for other, settings in configured_splits(config).items()}
    return lookup("split", split.name, configured)


def _downloaded(config: Config, split: Split) -> dict[str, Any]:
    """The settings of a split that is downloaded. Raises `InputError` if it is not."""
    settings = split_settings(config, split)
    if "reader" not in settings:
        key = f"corpora.{split.corpus}.{split.split}"
        raise InputError(f"{key}: packed from files on disk, not downloaded; choose a target in shards/")
    return settings


def needed_splits(config: Config) -> list[Split]:
    """The splits that the runs and their searches train and validate on, and those of the retrieval sets."""
    planned = planned_runs(config).values()
    used = [searches(config)[name] for name in used_searches(config)]
    validation = {Split(run.validation, "validation") for run in planned}
    validation |= {Split(validation_corpus(settings), "validation") for settings in used}
    retrieval = {
        Split(*retrieval_set["shards"].split("/"))
        for retrieval_set in config["evaluate"]["retrieval_sets"].values()
        if not retrieval_set.get("shards", ".json").endswith(".json")
    }
    train = {Split(run.run.corpus, "train") for run in planned}
    train |= {Split(settings["corpus"], "train") for settings in used}
    return sorted(train) + sorted((validation | retrieval) - train)


def local_source(config: Config, split: Split) -> LocalSource | None:
    """The form of the images on disk that a split is packed from; None if it is downloaded."""
    settings = split_settings(config, split)
    return next((source for key, source in LOCAL_SOURCES.items() if settings.get(key)), None)


def local_inputs(config: Config, split: Split) -> dict[str, list[str]]:
    """The folders and files on disk that a split is packed from, by config key; none if it is downloaded."""
    source, settings = local_source(config, split), split_settings(config, split)
    if source is None:
        return {}
    paths = {key: settings[key] for key in (source.key, *source.inputs) if key in settings}
    return {key: [path] if isinstance(path, str) else path for key, path in paths.items()}


def downloaded_splits(config: Config) -> list[Split]:
    """The needed splits that are downloaded."""
    return [split for split in needed_splits(config) if local_source(config, split) is None]


def reader_options(config: Config, split: Split) -> dict[str, Any]:
    """The reader's options of a split that is downloaded."""
    settings = _downloaded(config, split)
    return {key: value for key, value in settings.items() if key not in _COMMON_KEYS}


def reader_inputs(config: Config, split: Split) -> dict[str, list[str]]:
    """The files that a split's reader reads: {option: paths}."""
    options = reader_options(config, split)
    reader = READERS[_downloaded(config, split)["reader"]]
    paths = {option: options[option] for option in reader.inputs if option in options}
    return {option: [path] if isinstance(path, str) else path for option, path in paths.items()}


def reader_flags(config: Config, split: Split) -> list[str]:
    """The reader and its options, as flags of `cloob download urls`."""
    return flags({"reader": _downloaded(config, split)["reader"]} | reader_options(config, split))


def num_jobs(config: Config, split: Split) -> int:
    """The number of jobs that download a split."""
    return _downloaded(config, split)["num_jobs"]


def ledgers(config: Config, split: Split) -> list[str]:
    """The ledgers of all parts of a split's URL list, in order."""
    parts = range(num_jobs(config, split))
    return [f"{config['results']}/download/{split.name}/parts/{part:04d}_ledger.parquet" for part in parts]


def fetch_flags(config: Config, corpus: str) -> list[str]:
    """How a part is downloaded, as flags of `cloob download fetch`.

    The jobs of a corpus share its request rate equally.
    """
    downloaded = [
        split
        for split in configured_splits(config)
        if split.corpus == corpus and local_source(config, split) is None
    ]
    rate = config["corpora"][corpus]["requests_per_second"]
    jobs = sum(num_jobs(config, split) for split in downloaded)
    options = {key: value for key, value in config["download"].items() if key not in _FETCH_RESOURCES}
    return flags(options | {"requests_per_second": rate / jobs})


def fetch_resource_flags(config: Config) -> list[str]:
    """Processes and threads of a download, as flags of `cloob download fetch`."""
    return flags({key: config["download"][key] for key in _FETCH_RESOURCES})


def validation_manifests(config: Config, corpus: str) -> list[str]:
    """The manifests of the validation splits that a corpus's runs and searches use, or else of its own."""
    validation = {
        planned.validation for planned in planned_runs(config).values() if planned.run.corpus == corpus
    }
    validation |= {
        validation_corpus(settings) for settings in searches(config).values() if settings["corpus"] == corpus
    }
    own = {corpus} if Split(corpus, "validation") in configured_splits(config) else set()
    return [f"{config['results']}/shards/{name}/validation/shards.json" for name in sorted(validation or own)]


def pack_inputs(config: Config, split: Split) -> dict[str, str | list[str]]:
    """The source of a split, by the flags of `cloob shards pack`.

    Training pairs whose images are in a validation split of the corpus's runs are dropped.
    """
    flag_of = {source.key: source.flag for source in LOCAL_SOURCES.values()}
    inputs: dict[str, str | list[str]] = {
        flag_of.get(key, key): paths for key, paths in local_inputs(config, split).items()
    }
    if not inputs:
        urls = f"{config['results']}/download/{split.name}/urls.parquet"
        inputs = {"ledgers": ledgers(config, split), "urls": urls}
    if split.split == "train":
        inputs["validation"] = validation_manifests(config, split.corpus)
    return inputs


def pack_flags(config: Config, split: Split) -> list[str]:
    """How pairs are packed, as flags of `cloob shards pack`.

    Images on disk are subject to the size limits of the download, too.
    """
    limits, options = ["max_bytes", "max_pixels", "quality"], {}
    if (source := local_source(config, split)) is not None:
        limits += ["image_size", "min_size", "max_aspect_ratio"]
        settings = split_settings(config, split)
        options = {
            key: settings[key] for key in source.options if key in settings and key not in source.inputs
        }
    packing = {key: value for key, value in config["shards"].items() if key != "processes"}
    return flags(packing | {key: config["download"][key] for key in limits} | options)


def manifests(config: Config) -> dict[str, str]:
    """The shards' manifest of every needed split: {corpus/split: path}."""
    return {
        split.name: f"{config['results']}/shards/{split.name}/shards.json" for split in needed_splits(config)
    }


def outcome_files(config: Config) -> dict[str, str]:
    """The row accounting of every needed split, stage by stage: {corpus/split/stage: path}."""
    files = {}
    for split in needed_splits(config):
        if local_source(config, split) is None:
            for stage in ("urls", "images"):
                path = f"{config['results']}/download/{split.name}/{stage}_outcomes.csv"
                files[f"{split.name}/{stage}"] = path
        files[f"{split.name}/shards"] = f"{config['results']}/shards/{split.name}/outcomes.csv"
    return files


def summary_inputs(config: Config, corpus: str) -> dict[str, list[str]]:
    """The files of a corpus's download summary: the URL lists' outcomes and the ledgers of all its splits."""
    splits = [split for split in downloaded_splits(config) if split.corpus == corpus]
    return {
        "url_outcomes": [f"{config['results']}/download/{split.name}/urls_outcomes.csv" for split in splits],
        "ledgers": [path for split in splits for path in ledgers(config, split)],
    }


def summary_flags(config: Config, corpus: str) -> list[str]:
    """The same files as flags of `cloob download summary`: SPLIT=FILE each."""
    splits = [split for split in downloaded_splits(config) if split.corpus == corpus]
    outcomes = {
        split.split: f"{config['results']}/download/{split.name}/urls_outcomes.csv" for split in splits
    }
    parts = [f"{split.split}={path}" for split in splits for path in ledgers(config, split)]
    return flags({"list_outcomes": named_paths(outcomes), "ledgers": parts})
