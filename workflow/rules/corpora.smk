"""The corpora of the grid of runs: their splits, the parts of their lists, and where each stage leaves them."""


def splits():
    """Every (corpus, split) that the grid of runs needs; validation is always Conceptual Captions'."""
    corpora = sorted({run["corpus"] for run in RUNS.values()})
    return [(corpus, "train") for corpus in corpora] + [("cc3m", "validation")]


def ready_made(corpus, split):
    """The folder of shards that are packed instead of a download, or None."""
    return config["corpora"][corpus]["ready_made"][split]


def downloaded():
    """Those of `splits()` whose lists are fetched."""
    return [one for one in splits() if not ready_made(*one)]


def packed(wildcards):
    """What is packed, by the names of the flags of `cloob shards pack`; no training pair is one of validation."""
    corpus, split = wildcards.corpus, wildcards.split
    inputs = {"webdataset": ready_made(corpus, split)}
    if not inputs["webdataset"]:
        links = f"{config['results']}/download/{corpus}/{split}/urls.parquet"
        inputs = {"ledgers": ledgers_of(corpus, split), "urls": links}
    if split == "train":
        inputs["validation"] = f"{config['results']}/shards/cc3m/validation/shards.json"
    return inputs


def pack_flags(wildcards):
    """How pairs are packed, as flags of `cloob shards pack`; existing shards by the download's rules."""
    bounds = ["max_bytes", "max_pixels", "quality"]
    if ready_made(wildcards.corpus, wildcards.split):
        bounds += ["image_size", "min_size", "max_aspect_ratio"]
    return flags(config["shards"] | {key: config["download"][key] for key in bounds})


def manifests():
    """The manifest of every split: {corpus/split: path}."""
    return {
        f"{corpus}/{split}": f"{config['results']}/shards/{corpus}/{split}/shards.json"
        for corpus, split in splits()
    }


def outcomes_files():
    """The accounting of every split, stage after stage: {corpus/split/stage: path}."""
    files = {}
    for corpus, split in splits():
        if (corpus, split) in downloaded():
            for stage in ("urls", "images"):
                files[f"{corpus}/{split}/{stage}"] = (
                    f"{config['results']}/download/{corpus}/{split}/{stage}_outcomes.csv"
                )
        files[f"{corpus}/{split}/shards"] = f"{config['results']}/shards/{corpus}/{split}/outcomes.csv"
    return files


def parts(wildcards):
    """How many parts a list of links is cut into."""
    return config["download"]["parts"][wildcards.corpus][wildcards.split]


def ledgers_of(corpus, split):
    """The ledgers of all parts of a list, in their order."""
    return [
        f"{config['results']}/download/{corpus}/{split}/parts/{part:04d}_ledger.parquet"
        for part in range(config["download"]["parts"][corpus][split])
    ]


def fetch_flags(wildcards):
    """How a part is fetched, as flags of `cloob download fetch`; the parts of a corpus share the pace."""
    how = {key: value for key, value in config["download"].items() if key != "parts"}
    jobs = sum(config["download"]["parts"][wildcards.corpus].values())
    return flags(how | {"requests_per_second": how["requests_per_second"][wildcards.corpus] / jobs})
