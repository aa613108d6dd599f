"""What each table of result files and logs is made from, and where it stands in the report."""


def logs(wildcards):
    """The log of every run."""
    return [f"{config['results']}/train/{name}/metrics.jsonl" for name in RUNS]


def structure_results(wildcards):
    """The structure of the embeddings, which is followed over training, at the reported epochs only."""
    epochs = {name: config["recipes"][run["recipe"]]["eval_epochs"] for name, run in RUNS.items()}
    folders = {f"{name}/epoch_{epoch}" for name, of_run in epochs.items() for epoch in of_run}
    paths = map(Path, embedding_structure_results(wildcards))
    return [str(path) for path in paths if "/".join(path.parts[-4:-2]) in folders]


def everything(wildcards):
    """All that the claims of the paper are judged by."""
    kinds = (zeroshot_results, linear_probe_results, retrieval_results, structure_results, logs)
    return [path for results in kinds for path in results(wildcards)]


# The tables of results and logs: the category in the report, and what each is made from.
TABLES = {
    "claims": ("Claims", everything),
    "ablation": ("Claims", everything),
    "zeroshot": ("Zero-shot", zeroshot_results),
    "linear_probe": ("Linear probe", linear_probe_results),
    "retrieval": ("Retrieval", lambda wildcards: retrieval_results(wildcards)),
    "embedding_structure": ("Embeddings", structure_results),
    "throughput": ("Training", logs),
    "provenance": ("Training", logs),
}
# The tables of the released checkpoints, and their protocols.
RELEASED = {"released": "zeroshot", "released_linear_probe": "linear_probe"}
# Every table that the report shows as a page, with its category.
PAGES = {name: category for name, (category, _) in TABLES.items()}
PAGES |= {"accounting": "Data", "corpus": "Data", "overlap": "Data"} | {
    name: TABLES[protocol][0] for name, protocol in RELEASED.items()
}


def tables():
    """The tables of this config: where no test set has training images, no linear probe."""
    of_results = [name for name in TABLES if name != "linear_probe" or probed()]
    return [*of_results, "accounting", "corpus", "overlap"]


def table_of(wildcards):
    """What a table is made of. A partial one waits for nothing: it takes what is there when it is made."""
    if wildcards.table == "linear_probe":
        need_probed()
    return [] if config["allow_missing"] else TABLES[wildcards.table][1](wildcards)
