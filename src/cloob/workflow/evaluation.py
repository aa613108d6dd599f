"""The result files that the grid of runs needs, and the arguments of `cloob evaluate`."""

from collections.abc import Iterable
from pathlib import Path

from cloob.common.errors import InputError
from cloob.workflow.flags import flags
from cloob.workflow.runs import (
    Config,
    EpochSelection,
    embedding_eval_epochs,
    eval_epochs,
    planned_runs,
    recipe_of,
)


def result_files(
    config: Config, protocol: str, datasets: Iterable[str], epochs: EpochSelection = eval_epochs
) -> list[str]:
    """The result file of every (run, epoch, dataset); `epochs` selects the epochs of a recipe."""
    return [
        f"{config['results']}/evaluate/{name}/epoch_{epoch}/{protocol}/{dataset}.json"
        for name, planned in planned_runs(config).items()
        for epoch in epochs(config["recipes"][planned.recipe])
        for dataset in datasets
    ]


def probed_testsets(config: Config) -> dict[str, str]:
    """The test sets with a linear probe: {name: the test set whose training images it is fitted on}."""
    return {
        name: testset["probe_train_set"]
        for name, testset in config["testsets"].items()
        if testset.get("probe_train_set")
    }


def checkpoint(config: Config, run: str, epoch: int) -> str:
    """The checkpoint after an epoch, in the run's folder of running checkpoints, which no rule declares."""
    return f"{config['results']}/train/{run}/checkpoints/epoch_{epoch:04d}.pt"


def final_checkpoint(config: Config, run: str, epoch: int) -> str:
    """The final checkpoint of a run, for which the evaluation after an epoch waits.

    Raises `InputError` if the run is not in the grid, or does not keep the checkpoint after the epoch.
    """
    kept = embedding_eval_epochs(recipe_of(config, run))
    if epoch not in kept and not Path(checkpoint(config, run, epoch)).is_file():
        raise InputError(
            f"no checkpoint of {run} after epoch {epoch}; its recipe keeps those after "
            f"{', '.join(map(str, kept))} (eval_epochs, embedding_eval_epochs)"
        )
    return f"{config['results']}/train/{run}/final.pt"


def testset_inputs(config: Config, names: Iterable[str]) -> dict[str, list[str]]:
    """The specs and folders of test sets."""
    testsets = [config["testsets"][name] for name in names]
    return {
        "specs": [testset["spec"] for testset in testsets],
        "folders": [testset["folder"] for testset in testsets],
    }


def testset_flags(config: Config, names: Iterable[str]) -> list[str]:
    """Test sets as flags of `cloob evaluate`: SPEC=FOLDER each."""
    testsets = [config["testsets"][name] for name in names]
    return flags({"testset": [f"{testset['spec']}={testset['folder']}" for testset in testsets]})


def prepare_testset_flags(config: Config, testset: str) -> list[str]:
    """Source and set-up of a test set, as flags of `cloob evaluate prepare-testset`.

    Of webdataset tars, those with training images are only read if a linear probe is fitted on them.
    """
    settings = config["testsets"][testset]
    options = {
        "source": settings.get("source", "processed"),
        "archives": f"{config['results']}/evaluate/testset_archives/{testset}",
    }
    if options["source"] == "webdataset":
        is_probed = testset in probed_testsets(config).values()
        options["splits"] = ["test", "train"] if is_probed else ["test"]
        options["prompts"] = settings.get("prompts") or "spec"
    return flags(options)


def feature_flags(config: Config) -> list[str]:
    """How every protocol computes its features, as flags of `cloob evaluate`."""
    settings = {key: config["evaluate"][key] for key in ("batch_size", "precision")}
    return flags({"feature_cache": f"{config['results']}/evaluate/features"} | settings)


def linear_probe_flags(config: Config) -> list[str]:
    """Training sets, kinds of features, sweep and validation, as flags of `cloob evaluate linear-probe`."""
    train_sets = [f"{name}={train_set}" for name, train_set in probed_testsets(config).items()]
    settings = dict(config["evaluate"]["linear_probe"])
    keep = ["--keep-train-features"] if settings.pop("keep_train_features") else []
    return flags({"probe_train_set": train_sets} | settings) + keep


def retrieval_set_paths(config: Config) -> list[str]:
    """The path of every retrieval set: a shards.json, the JSON of Karpathy's splits, or a webdataset folder.

    Shards are packed by this pipeline (`corpus/split`) or any others; a webdataset folder may be downloaded.
    """
    paths = []
    for name, settings in config["evaluate"]["retrieval_sets"].items():
        path = next(settings[key] for key in ("shards", "karpathy", "webdataset") if key in settings)
        if is_remote(settings):
            path = f"{config['results']}/evaluate/retrieval_sets/{name}"
        elif "shards" in settings and not path.endswith(".json"):
            path = f"{config['results']}/shards/{path}/shards.json"
        paths.append(path)
    return paths


def is_remote(retrieval_set: Config) -> bool:
    """Whether a retrieval set is downloaded."""
    return retrieval_set.get("webdataset", "").startswith(("http://", "https://"))


def downloaded_retrieval_sets(config: Config) -> list[str]:
    """The names of the retrieval sets that are downloaded."""
    retrieval_sets = config["evaluate"]["retrieval_sets"]
    return [name for name, settings in retrieval_sets.items() if is_remote(settings)]


def retrieval_set_folders(config: Config) -> list[str]:
    """The folders of images that retrieval sets need in addition to their paths."""
    retrieval_sets = config["evaluate"]["retrieval_sets"].values()
    return sorted({settings["images"] for settings in retrieval_sets if "images" in settings})


def retrieval_set_flags(config: Config) -> list[str]:
    """The retrieval sets, as flags of `cloob evaluate image-text`: their files and titles."""
    retrieval_sets, paths = config["evaluate"]["retrieval_sets"], retrieval_set_paths(config)
    options = {
        "pairs": [f"{name}={path}" for name, path in zip(retrieval_sets, paths, strict=True)],
        "title": [settings["title"] for settings in retrieval_sets.values()],
    }
    for key in ("images", "split"):
        options[key] = [f"{name}={set_[key]}" for name, set_ in retrieval_sets.items() if key in set_]
    return flags(options)


def download_retrieval_set_flags(config: Config, name: str) -> list[str]:
    """URL, size limit and split of a retrieval set, as flags of `cloob evaluate download-retrieval-set`."""
    settings = config["evaluate"]["retrieval_sets"][name]
    return flags(
        {
            "url": settings["webdataset"],
            "max_bytes": settings["max_bytes"],
            "split": settings.get("split", "test"),
            "partial": f"{config['results']}/evaluate/retrieval_set_downloads/{name}",
        }
    )


def overlap_files(config: Config) -> list[str]:
    """The result file of every (training corpus, test set): test images that are in the corpus."""
    corpora = sorted({planned.run.corpus for planned in planned_runs(config).values()})
    return [
        f"{config['results']}/evaluate/overlap/{corpus}/{testset}.json"
        for corpus in corpora
        for testset in config["testsets"]
    ]


def overlap_flags(config: Config) -> list[str]:
    """How images are compared, as flags of `cloob evaluate overlap`."""
    return flags(
        {
            "feature_cache": f"{config['results']}/evaluate/features",
            "near_duplicate_distance": config["shards"]["near_duplicate_distance"],
        }
    )
