"""The result files that the grid of runs needs, and the arguments of `cloob evaluate`."""

from collections.abc import Iterable

from cloob.workflow.flags import flags
from cloob.workflow.runs import Config, EpochSelection, eval_epochs, planned_runs


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


def testset_inputs(config: Config, names: Iterable[str]) -> dict[str, list[str]]:
    """The specs and folders of test sets."""
    testsets = [config["testsets"][name] for name in names]
    return {
        "specs": [testset["spec"] for testset in testsets],
        "folders": [testset["folder"] for testset in testsets],
    }


def testset_flags(specs: Iterable[str], folders: Iterable[str]) -> list[str]:
    """Test sets as flags of `cloob evaluate`: SPEC=FOLDER each."""
    return flags({"testset": [f"{spec}={folder}" for spec, folder in zip(specs, folders, strict=True)]})


def prepare_testset_flags(config: Config, testset: str) -> list[str]:
    """Source and set-up of a test set, as flags of `cloob evaluate prepare-testset`."""
    return flags(
        {
            "source": config["testsets"][testset].get("source", "processed"),
            "archives": f"{config['results']}/evaluate/testset_archives/{testset}",
            "workers": config["evaluate"]["workers"],
        }
    )


def feature_flags(config: Config) -> list[str]:
    """How every protocol computes its features, as flags of `cloob evaluate`."""
    settings = {key: config["evaluate"][key] for key in ("batch_size", "precision", "workers")}
    return flags({"feature_cache": f"{config['results']}/evaluate/features"} | settings)


def linear_probe_flags(config: Config) -> list[str]:
    """Training sets, kinds of features, sweep and validation, as flags of `cloob evaluate linear-probe`."""
    train_sets = [f"{name}={train_set}" for name, train_set in probed_testsets(config).items()]
    settings = dict(config["evaluate"]["linear_probe"])
    keep = ["--keep-train-features"] if settings.pop("keep_train_features") else []
    return flags({"probe_train_set": train_sets} | settings) + keep


def retrieval_set_manifests(config: Config) -> list[str]:
    """The manifest of every retrieval set: packed by this pipeline (`corpus/split`) or any other shards."""
    paths = [settings["shards"] for settings in config["evaluate"]["retrieval_sets"].values()]
    return [
        path if path.endswith(".json") else f"{config['results']}/shards/{path}/shards.json" for path in paths
    ]


def retrieval_set_flags(config: Config, manifests: Iterable[str]) -> list[str]:
    """The retrieval sets, as flags of `cloob evaluate image-text`: their shards and titles."""
    retrieval_sets = config["evaluate"]["retrieval_sets"]
    pairs = [f"{name}={path}" for name, path in zip(retrieval_sets, manifests, strict=True)]
    titles = [settings["title"] for settings in retrieval_sets.values()]
    return flags({"pairs": pairs, "title": titles})


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
            "processes": config["shards"]["processes"],
        }
    )


def released_files(config: Config, protocol: str) -> dict[str, str]:
    """The result file of every (released model, test set): {path: column of the published results}."""
    testsets = config["testsets"] if protocol == "zeroshot" else probed_testsets(config)
    return {
        f"{config['results']}/evaluate/released/{name}/{protocol}/{testset}.json": "/".join(
            str(released.get(key, "final")) for key in ("pretraining", "architecture", "method", "epoch")
        )
        for name, released in config["released_checkpoints"].items()
        for testset in testsets
    }


def released_model(config: Config, name: str) -> str:
    """The weights of a released model: a checkpoint of the authors, or a folder in open_clip's format."""
    path = f"{config['results']}/download/released/{name}"
    is_open_clip = "open_clip" in config["released_checkpoints"][name]
    return f"{path}/open_clip_model.safetensors" if is_open_clip else f"{path}.pt"


def open_clip_source(config: Config, name: str) -> str:
    """A released model of open_clip, as `cloob.load_model` names it."""
    released = config["released_checkpoints"][name]
    return ":".join([released["open_clip"], *filter(None, [released.get("pretrained")])])


def open_clip_inputs(config: Config, name: str) -> list[str]:
    """The local file or folder of a released model of open_clip; without one it is downloaded."""
    released = config["released_checkpoints"][name]
    folder = released["open_clip"].removeprefix("local-dir:")
    if folder != released["open_clip"]:
        return [f"{folder}/open_clip_config.json"]
    return [path for path in [released.get("pretrained") or ""] if "/" in path]


def released_checkpoint_flags(config: Config, name: str) -> list[str]:
    """URL, maximum size and checksum of a released checkpoint, as flags of `cloob download file`."""
    released = config["released_checkpoints"][name]
    return flags({key: released[key] for key in ("url", "max_bytes", "checksum")})
