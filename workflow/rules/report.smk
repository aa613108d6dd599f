# Result files become tables and figures: light work, done where snakemake runs.


localrules:
    table,
    published_table,
    books,
    training_curves,
    zeroshot_figure,


# One rule for every table of result files and logs; `--config partial=True` makes it of those that are there.
rule table:
    input:
        results=table_of,
        paper="config/paper_results.csv",
    output:
        csv=report(
            "<results>/tables/{table}.csv",
            caption="../report/table.rst",
            category=lambda wildcards: TABLES[wildcards.table][0],
            labels=lambda wildcards: {"result": TABLES[wildcards.table][1], "kind": "table"},
        ),
        text=multiext("<results>/tables/{table}", ".md", ".tex"),
    log:
        "<results>/logs/report/table_{table}.log",
    wildcard_constraints:
        table="|".join(TABLES),
    conda:
        "../../envs/tables.yaml"
    params:
        results=lambda wildcards: TABLES[wildcards.table][2](wildcards),
        partial="--partial" if config["partial"] else "",
        label=config["label"],
    shell:
        "cloob report table {wildcards.table} --results {params.results} {params.partial} --paper {input.paper}"
        " --csv {output.csv} --label {params.label:q} 2>&1 | tee {log}"


rule published_table:
    input:
        results=lambda wildcards: list(published_results(wildcards)),
        paper="config/paper_results.csv",
    output:
        csv=report(
            "<results>/tables/published.csv",
            caption="../report/published.rst",
            category="Zero-shot",
            labels={"result": "the released checkpoints", "kind": "table"},
        ),
        text=multiext("<results>/tables/published", ".md", ".tex"),
    log:
        "<results>/logs/report/published_table.log",
    conda:
        "../../envs/tables.yaml"
    params:
        results=lambda wildcards: [
            f"{column}={path}" for path, column in published_results(wildcards).items()
        ],
        label=config["label"],
    shell:
        "cloob report published --results {params.results:q} --paper {input.paper} --csv {output.csv}"
        " --label {params.label:q} 2>&1 | tee {log}"


rule books:
    input:
        [
            f"<results>/{path}"
            for corpus, split in splits()
            for path in (
                f"download/{corpus}/{split}/links_fates.csv",
                f"download/{corpus}/{split}/images_fates.csv",
                f"shards/{corpus}/{split}/fates.csv",
            )
        ],
    output:
        csv=report(
            "<results>/tables/books.csv",
            caption="../report/books.rst",
            category="Data",
            labels={"result": "every row accounted for", "kind": "table"},
        ),
        text=multiext("<results>/tables/books", ".md", ".tex"),
    log:
        "<results>/logs/report/books.log",
    conda:
        "../../envs/tables.yaml"
    params:
        label=config["label"],
        fates=lambda wildcards, input: [
            f"{corpus}/{split}/{stage}={path}"
            for (corpus, split, stage), path in zip(
                [(*one, stage) for one in splits() for stage in ("links", "images", "shards")], input
            )
        ],
    shell:
        "cloob report books --fates {params.fates} --csv {output.csv}"
        " --label {params.label:q} 2>&1 | tee {log}"


rule training_curves:
    input:
        [f"<results>/train/{name}/metrics.jsonl" for name in RUNS],
    output:
        png=report(
            "<results>/figures/training_curves.png",
            caption="../report/training_curves.rst",
            category="Training",
            labels={"result": "training curves", "kind": "figure"},
        ),
        pdf="<results>/figures/training_curves.pdf",
    log:
        "<results>/logs/report/training_curves.log",
    conda:
        "../../envs/figures.yaml"
    params:
        label=config["label"],
    shell:
        "cloob report training-curves --metrics {input} --png {output.png} --pdf {output.pdf}"
        " --label {params.label:q} 2>&1 | tee {log}"


rule zeroshot_figure:
    input:
        "<results>/tables/zeroshot.csv",
    output:
        png=report(
            "<results>/figures/zeroshot.png",
            caption="../report/zeroshot.rst",
            category="Zero-shot",
            labels={"result": "overview", "kind": "figure"},
        ),
        pdf="<results>/figures/zeroshot.pdf",
    log:
        "<results>/logs/report/zeroshot_figure.log",
    conda:
        "../../envs/figures.yaml"
    params:
        label=config["label"],
    shell:
        "cloob report zeroshot-figure --table {input} --png {output.png} --pdf {output.pdf}"
        " --label {params.label:q} 2>&1 | tee {log}"
