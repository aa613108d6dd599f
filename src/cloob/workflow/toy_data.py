"""The toy dataset: where the config finds it, and the outputs and arguments of the rule `toy_data`."""

from cloob.shards.local_sources import LOCAL_SOURCES
from cloob.toy_data.layout import (
    FORMATS,
    SERVER_ADDRESS,
    generated_files,
    generated_folders,
    located_splits,
    located_testsets,
)
from cloob.workflow.flags import flags
from cloob.workflow.runs import Config


def toy_format(config: Config) -> str:
    """How the corpora of the toy dataset are written; the default without a toy dataset."""
    return config.get("toy_data", {}).get("format", FORMATS[0])


def use_toy_dataset(config: Config) -> None:
    """Let the corpora and test sets of the config be those of its toy dataset, if it has one.

    Only those that the config defines, and no split from other files, so that they can be replaced or left
    out.
    """
    if "toy_data" not in config:
        return
    folder, port = f"{config['results']}/toy_data", config["toy_data"]["port"]
    for (corpus, split), keys in located_splits(folder, port, toy_format(config)).items():
        settings = (config["corpora"].get(corpus) or {}).get(split)
        if settings and not any(settings.get(key) for key in LOCAL_SOURCES):
            settings |= keys
    for name, keys in located_testsets(folder).items():
        if config["testsets"].get(name):
            config["testsets"][name] |= keys
    if toy_format(config) == "url_lists":
        config["download"]["allowed_addresses"] = [f"{SERVER_ADDRESS}:{port}"]


def toy_files(config: Config) -> list[str]:
    """The URL lists and test-set specs of the toy dataset.

    All of them, used by the config or not: Snakemake deletes declared outputs before it runs the rule again,
    and `cloob toy-data generate` does not write into a folder with other files.
    """
    return [f"{config['results']}/toy_data/{path}" for path in generated_files(toy_format(config))]


def toy_folders(config: Config) -> list[str]:
    """The test sets of the toy dataset, and the images behind its URLs or its tars."""
    return [f"{config['results']}/toy_data/{path}" for path in generated_folders(toy_format(config))]


def toy_flags(config: Config) -> list[str]:
    """Seed, port and sizes, as flags of `cloob toy-data generate`."""
    return flags(config["toy_data"])
