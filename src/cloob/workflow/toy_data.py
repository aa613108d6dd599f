"""The outputs and arguments of the rule `toy_data`."""

from cloob.toy_data.layout import generated_files, generated_folders
from cloob.workflow.flags import flags
from cloob.workflow.runs import Config


def toy_files(config: Config) -> list[str]:
    """The URL lists and test-set specs of the toy dataset.

    All of them, used by the config or not: Snakemake deletes declared outputs before it runs the rule again,
    and `cloob toy-data generate` does not write into a folder with other files.
    """
    return [f"{config['results']}/toy_data/{path}" for path in generated_files()]


def toy_folders(config: Config) -> list[str]:
    """The test sets of the toy dataset, and the images behind its URLs."""
    return [f"{config['results']}/toy_data/{path}" for path in generated_folders()]


def toy_flags(config: Config) -> list[str]:
    """Seed, port and sizes, as flags of `cloob toy-data generate`."""
    return flags(config["toy_data"])
