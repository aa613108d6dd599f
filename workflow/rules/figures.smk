"""What each figure of the report is made from, and where it stands there."""


def structure_at(epochs_of):
    """An input function: the structure of every run's embeddings of the first captioned set, at some epochs."""
    return lambda wildcards: result_files(
        "embedding_structure", list(config["evaluate"]["retrieval_sets"])[:1], epochs_of
    )


def first_and_reported(recipe):
    """The first of them, which increases are counted from, and the reported ones."""
    return sorted({embedding_eval_epochs(recipe)[0], *recipe["eval_epochs"]})


def beside_the_paper(results):
    """An input function: results, and the numbers of the paper that they stand beside."""
    return lambda wildcards: [*results(wildcards), "config/paper_results.csv"]


def sample_predictions(wildcards):
    """Of one run: the first of CLOOB, if there is one, at its last reported epoch."""
    cloob = [name for name, run in RUNS.items() if run["objective"] == "cloob"]
    name = (cloob or list(RUNS))[0]
    epoch = max(config["recipes"][RUNS[name]["recipe"]]["eval_epochs"])
    folder = f"{config['results']}/evaluate/{name}/epoch_{epoch}/predictions"
    return [f"{folder}/{testset}.json" for testset in config["testsets"]]


def summaries_of_downloads(wildcards):
    """What became of the rows of each corpus's lists."""
    return [f"{config['results']}/download/{corpus}/summary.csv" for corpus in sorted(dict(downloaded()))]


def sources_of_the_pipeline(wildcards):
    """The Snakefile, which lists the stages, and the files of their rules."""
    folder = Path(workflow.basedir)
    return [folder / "Snakefile", *sorted((folder / "rules").glob("*.smk"))]


def caption_of(result):
    """The sentence below a table or figure in the report."""
    return (Path(workflow.basedir) / "report" / f"{result}.rst").read_text().strip()


# Every figure: its category in the report, and what it is made from.
FIGURES = {
    "zeroshot": ("Zero-shot", zeroshot_results),
    "predictions": ("Zero-shot", sample_predictions),
    "effective_eigenvalues": ("Embeddings", beside_the_paper(structure_at(first_and_reported))),
    "effective_eigenvalues_epochs": ("Embeddings", structure_at(embedding_eval_epochs)),
    "ajne": ("Embeddings", beside_the_paper(structure_at(eval_epochs))),
    "spectra": ("Embeddings", structure_at(eval_epochs)),
    "similarities": ("Embeddings", structure_at(eval_epochs)),
    "saturation": ("Training", logs),
    "training_curves": ("Training", logs),
    "throughput": ("Training", logs),
    "outcomes": ("Data", summaries_of_downloads),
    "pipeline": ("Pipeline", sources_of_the_pipeline),
}


def figures():
    """The figures of this config: where all shards are ready made, no list has outcomes."""
    return [name for name in [*FIGURES, "corpus"] if name != "outcomes" or downloaded()]
