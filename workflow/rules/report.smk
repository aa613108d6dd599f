# Result files become tables and figures: light work, done where snakemake runs.


localrules:
    table,
    published_table,
    books,
    corpus_table,
    table_page,
    figure,
    corpus_figure,


# One rule for every table of result files and logs; `--config partial=True` makes it of those that are there.
rule table:
    input:
        results=table_of,
        paper="config/paper_results.csv",
    output:
        csv="<results>/tables/{table}.csv",
        text=multiext("<results>/tables/{table}", ".md", ".tex"),
    log:
        "<results>/logs/report/table_{table}.log",
    wildcard_constraints:
        table="|".join(TABLES),
    conda:
        "../../envs/tables.yaml"
    params:
        results=lambda wildcards: TABLES[wildcards.table][1](wildcards),
        partial="--partial" if config["partial"] else "",
        label=config["label"],
    shell:
        "cloob report table {wildcards.table} --results {params.results} {params.partial} --paper {input.paper}"
        " --csv {output.csv} --label={params.label:q} 2>&1 | tee {log}"


rule published_table:
    input:
        results=lambda wildcards: list(published_results(wildcards)),
        paper="config/paper_results.csv",
    output:
        csv="<results>/tables/{table}.csv",
        text=multiext("<results>/tables/{table}", ".md", ".tex"),
    log:
        "<results>/logs/report/table_{table}.log",
    wildcard_constraints:
        table="|".join(PUBLISHED),
    conda:
        "../../envs/tables.yaml"
    params:
        results=lambda wildcards: [
            f"{column}={path}" for path, column in published_results(wildcards).items()
        ],
        label=config["label"],
    shell:
        "cloob report published --results {params.results:q} --paper {input.paper} --csv {output.csv}"
        " --label={params.label:q} 2>&1 | tee {log}"


rule books:
    input:
        list(fates_files().values()),
    output:
        csv="<results>/tables/books.csv",
        text=multiext("<results>/tables/books", ".md", ".tex"),
    log:
        "<results>/logs/report/books.log",
    conda:
        "../../envs/tables.yaml"
    params:
        label=config["label"],
        fates=[f"{name}={path}" for name, path in fates_files().items()],
    shell:
        "cloob report books --fates {params.fates} --csv {output.csv}"
        " --label={params.label:q} 2>&1 | tee {log}"


rule corpus_table:
    input:
        shards=list(manifests().values()),
        fates=list(fates_files().values()),
    output:
        csv="<results>/tables/corpus.csv",
        text=multiext("<results>/tables/corpus", ".md", ".tex"),
    log:
        "<results>/logs/report/corpus_table.log",
    conda:
        "../../envs/tables.yaml"
    params:
        shards=[f"{name}={path}" for name, path in manifests().items()],
        fates=[f"{name}={path}" for name, path in fates_files().items()],
        label=config["label"],
    shell:
        "cloob report corpus-table --shards {params.shards} --fates {params.fates} --csv {output.csv}"
        " --label={params.label:q} 2>&1 | tee {log}"


# A table as a page that the report can show: browsers have no eyes for CSV or Markdown.
rule table_page:
    input:
        "<results>/tables/{table}.md",
    output:
        report(
            "<results>/tables/{table}.html",
            caption="../report/of_params.rst",
            category=lambda wildcards: PAGES[wildcards.table],
            labels=lambda wildcards: {"result": wildcards.table.replace("_", " "), "kind": "table"},
        ),
    log:
        "<results>/logs/report/{table}_page.log",
    wildcard_constraints:
        table="|".join(PAGES),
    conda:
        "../../envs/figures.yaml"
    params:
        caption=lambda wildcards: caption_of(f"table_{wildcards.table}"),
    shell:
        "cloob report page --markdown {input} --html {output} 2>&1 | tee {log}"


# Every figure: as PNG and SVG for screens and PDF for print, with the data behind it.
rule figure:
    input:
        lambda wildcards: FIGURES[wildcards.figure][1](wildcards),
    output:
        png=report(
            "<results>/figures/{figure}.png",
            caption="../report/of_params.rst",
            category=lambda wildcards: FIGURES[wildcards.figure][0],
            labels=lambda wildcards: {"result": wildcards.figure.replace("_", " "), "kind": "figure"},
        ),
        others=multiext("<results>/figures/{figure}", ".svg", ".pdf", ".csv", ".sources.json"),
    log:
        "<results>/logs/report/{figure}_figure.log",
    wildcard_constraints:
        figure="|".join(FIGURES),
    conda:
        "../../envs/figures.yaml"
    params:
        label=config["label"],
        caption=lambda wildcards: caption_of(wildcards.figure),
    shell:
        "cloob report figure {wildcards.figure} --inputs {input:q} --png {output.png}"
        " --label={params.label:q} 2>&1 | tee {log}"


rule corpus_figure:
    input:
        shards=list(manifests().values()),
        fates=list(fates_files().values()),
    output:
        png=report(
            "<results>/figures/corpus.png",
            caption="../report/corpus.rst",
            category="Data",
            labels={"result": "corpus", "kind": "figure"},
        ),
        others=multiext("<results>/figures/corpus", ".svg", ".pdf", ".csv", ".sources.json"),
    log:
        "<results>/logs/report/corpus_figure.log",
    conda:
        "../../envs/figures.yaml"
    params:
        shards=[f"{name}={path}" for name, path in manifests().items()],
        fates=[f"{name}={path}" for name, path in fates_files().items()],
        label=config["label"],
    shell:
        "cloob report corpus-figure --shards {params.shards} --fates {params.fates} --png {output.png}"
        " --label={params.label:q} 2>&1 | tee {log}"
