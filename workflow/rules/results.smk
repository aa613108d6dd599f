"""The result files that the grid of runs asks for, and how they are computed."""


def result_files(protocol, datasets, epochs_of):
    """The result file of every run and data set, after the epochs that `epochs_of` takes from its recipe."""
    return [
        f"{config['results']}/evaluate/{name}/epoch_{epoch}/{protocol}/{dataset}.json"
        for name, run in RUNS.items()
        for epoch in epochs_of(config["recipes"][run["recipe"]])
        for dataset in datasets
    ]


def eval_epochs(recipe):
    """The epochs that the tables report."""
    return recipe["eval_epochs"]


def zeroshot_results(wildcards):
    """The result file of every (run, reported epoch, test set)."""
    return result_files("zeroshot", config["testsets"], eval_epochs)


def predictions_results(wildcards):
    """Sample images with their best classes, of every (run, reported epoch, test set)."""
    return result_files("predictions", config["testsets"], eval_epochs)


def probed():
    """The test sets of the linear probe: {name: the set whose training images it takes}."""
    return {
        name: one["probe_train_set"] for name, one in config["testsets"].items() if one.get("probe_train_set")
    }


def need_probed():
    """Refuse a table of linear probes where no test set has training images."""
    if not probed():
        raise WorkflowError(
            "No test set is probed: name the training images of one, testsets.NAME.probe_train_set"
        )


def linear_probe_results(wildcards):
    """The result file of every (run, reported epoch, test set with training images)."""
    return result_files("linear_probe", probed(), eval_epochs)


def retrieval_results(wildcards):
    """The result file of every (run, reported epoch, captioned set)."""
    return result_files("retrieval", config["evaluate"]["retrieval_sets"], eval_epochs)


def embedding_structure_results(wildcards):
    """The result file of every (run, epoch whose embeddings are looked at, captioned set)."""
    return result_files("embedding_structure", config["evaluate"]["retrieval_sets"], embedding_eval_epochs)


def checkpoint_of(wildcards):
    """The checkpoint after an epoch: it lies in the run's folder of running checkpoints, which no rule declares."""
    return f"{config['results']}/train/{wildcards.run}/checkpoints/epoch_{int(wildcards.epoch):04d}.pt"


def testset_flags(wildcards, input):
    """The test sets, as flags of `cloob evaluate`: the description of each and its folder."""
    pairs = zip(input.specs, input.folders)
    return flags({"testset": [f"{description}={folder}" for description, folder in pairs]})


def evaluate_flags(wildcards):
    """How every protocol computes its features, as flags of `cloob evaluate`."""
    one = config["evaluate"]
    return flags(
        {
            "feature_cache": f"{config['results']}/evaluate/features",
            "batch_size": one["batch_size"],
            "precision": one["precision"],
            "workers": one["workers"],
        }
    )


def linear_probe_flags(wildcards):
    """Training images, the sweep and its validation images, as flags of `cloob evaluate linear-probe`."""
    one = dict(config["evaluate"]["linear_probe"])
    training = [f"{name}={training}" for name, training in probed().items()]
    return flags({"probe_train_set": training, "features": one.pop("features")} | one)


def overlap_results():
    """The result file of every (corpus of the grid, test set): test images that are in the corpus."""
    corpora = sorted({run["corpus"] for run in RUNS.values()})
    return [
        f"{config['results']}/evaluate/overlap/{corpus}/{testset}.json"
        for corpus in corpora
        for testset in config["testsets"]
    ]


def overlap_flags(wildcards):
    """How images are compared, as flags of `cloob evaluate overlap`."""
    return flags(
        {
            "feature_cache": f"{config['results']}/evaluate/features",
            "near_duplicate_distance": config["shards"]["near_duplicate_distance"],
            "processes": config["shards"]["processes"],
        }
    )


def image_text_flags(wildcards, input):
    """The captioned sets, as flags of `cloob evaluate image-text`: the shards of each and its title."""
    captioned = config["evaluate"]["retrieval_sets"]
    pairs = [f"{name}={path}" for name, path in zip(captioned, input.shards)]
    return flags({"pairs": pairs, "title": [one["title"] for one in captioned.values()]})


def retrieval_set_shards():
    """The manifest of every captioned set: of the pipeline's own (`corpus/split`) or of any other shards."""
    return [
        (
            one["shards"]
            if one["shards"].endswith(".json")
            else f"{config['results']}/shards/{one['shards']}/shards.json"
        )
        for one in config["evaluate"]["retrieval_sets"].values()
    ]


def released_results(wildcards):
    """The result file of every (released checkpoint, test set), after the column of the paper it stands against."""
    protocol = RELEASED[wildcards.table]
    if not config["released_checkpoints"]:
        raise WorkflowError(
            "No released checkpoint is left to evaluate: give one its address, released_checkpoints.NAME.address"
        )
    if protocol == "linear_probe":
        need_probed()
    return {
        f"{config['results']}/evaluate/released/{name}/{protocol}/{testset}.json": "/".join(
            str(one[key]) for key in ("pretraining", "architecture", "method", "epoch")
        )
        for name, one in config["released_checkpoints"].items()
        for testset in (config["testsets"] if protocol == "zeroshot" else probed())
    }
