# Result files become tables and figures: light work, done where snakemake runs.


localrules:
    table,
    published_table,
    books,
    corpus_table,
    overlap_table,
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
        results=lambda wildcards: flags({"results": TABLES[wildcards.table][1](wildcards)}),
        partial=lambda wildcards: "--partial" if config["partial"] else "",
        label=lambda wildcards: embeddable(config["label"]),
    shell:
        "cloob report table {wildcards.table:q} {params.results:q} {params.partial:q} --paper={input.paper:q}"
        " --csv={output.csv:q} --label={params.label:q} 2>&1 | tee {log:q}"


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
        results=lambda wildcards: flags(
            {"results": [f"{column}={path}" for path, column in published_results(wildcards).items()]}
        ),
        label=lambda wildcards: embeddable(config["label"]),
    shell:
        "cloob report published {params.results:q} --paper={input.paper:q} --csv={output.csv:q}"
        " --label={params.label:q} 2>&1 | tee {log:q}"


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
        fates=lambda wildcards: flags({"fates": named(fates_files())}),
        label=lambda wildcards: embeddable(config["label"]),
    shell:
        "cloob report books {params.fates:q} --csv={output.csv:q} --label={params.label:q} 2>&1 | tee {log:q}"


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
        corpora=lambda wildcards: flags({"shards": named(manifests()), "fates": named(fates_files())}),
        label=lambda wildcards: embeddable(config["label"]),
    shell:
        "cloob report corpus-table {params.corpora:q} --csv={output.csv:q} --label={params.label:q} 2>&1 | tee {log:q}"


rule overlap_table:
    input:
        overlap_results(),
    output:
        csv="<results>/tables/overlap.csv",
        text=multiext("<results>/tables/overlap", ".md", ".tex"),
    log:
        "<results>/logs/report/overlap_table.log",
    conda:
        "../../envs/tables.yaml"
    params:
        results=lambda wildcards, input: flags({"results": list(input)}),
        label=lambda wildcards: embeddable(config["label"]),
    shell:
        "cloob report overlap {params.results:q} --csv={output.csv:q} --label={params.label:q} 2>&1 | tee {log:q}"


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
        "cloob report page --markdown={input:q} --html={output:q} 2>&1 | tee {log:q}"


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
        inputs=lambda wildcards, input: flags({"inputs": list(input)}),
        label=lambda wildcards: embeddable(config["label"]),
        caption=lambda wildcards: caption_of(wildcards.figure),
    shell:
        "cloob report figure {wildcards.figure:q} {params.inputs:q} --png={output.png:q}"
        " --label={params.label:q} 2>&1 | tee {log:q}"


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
        corpora=lambda wildcards: flags({"shards": named(manifests()), "fates": named(fates_files())}),
        label=lambda wildcards: embeddable(config["label"]),
    shell:
        "cloob report corpus-figure {params.corpora:q} --png={output.png:q} --label={params.label:q} 2>&1 | tee {log:q}"
