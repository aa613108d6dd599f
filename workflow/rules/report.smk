# Result files become tables and figures: light work, done where snakemake runs.


localrules:
    table,
    released_table,
    accounting,
    corpus_table,
    overlap_table,
    table_html,
    figure,
    corpus_figure,


# One rule for every table of result files and logs; `--config allow_missing=True` makes it of those that are there.
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
        allow_missing=lambda wildcards: "--allow-missing" if config["allow_missing"] else "",
        title_suffix=lambda wildcards: embeddable(config["title_suffix"]),
    shell:
        "cloob report table {wildcards.table:q} {params.results:q} {params.allow_missing:q} --paper={input.paper:q}"
        " --csv={output.csv:q} --title-suffix={params.title_suffix:q} 2>&1 | tee {log:q}"


rule released_table:
    input:
        results=lambda wildcards: list(released_results(wildcards)),
        paper="config/paper_results.csv",
    output:
        csv="<results>/tables/{table}.csv",
        text=multiext("<results>/tables/{table}", ".md", ".tex"),
    log:
        "<results>/logs/report/table_{table}.log",
    wildcard_constraints:
        table="|".join(RELEASED),
    conda:
        "../../envs/tables.yaml"
    params:
        results=lambda wildcards: flags(
            {"results": [f"{column}={path}" for path, column in released_results(wildcards).items()]}
        ),
        title_suffix=lambda wildcards: embeddable(config["title_suffix"]),
    shell:
        "cloob report released {params.results:q} --paper={input.paper:q} --csv={output.csv:q}"
        " --title-suffix={params.title_suffix:q} 2>&1 | tee {log:q}"


rule accounting:
    input:
        list(outcomes_files().values()),
    output:
        csv="<results>/tables/accounting.csv",
        text=multiext("<results>/tables/accounting", ".md", ".tex"),
    log:
        "<results>/logs/report/accounting.log",
    conda:
        "../../envs/tables.yaml"
    params:
        outcomes=lambda wildcards: flags({"outcomes": named(outcomes_files())}),
        title_suffix=lambda wildcards: embeddable(config["title_suffix"]),
    shell:
        "cloob report accounting {params.outcomes:q} --csv={output.csv:q} --title-suffix={params.title_suffix:q} 2>&1 | tee {log:q}"


rule corpus_table:
    input:
        shards=list(manifests().values()),
        outcomes=list(outcomes_files().values()),
    output:
        csv="<results>/tables/corpus.csv",
        text=multiext("<results>/tables/corpus", ".md", ".tex"),
    log:
        "<results>/logs/report/corpus_table.log",
    conda:
        "../../envs/tables.yaml"
    params:
        corpora=lambda wildcards: flags({"shards": named(manifests()), "outcomes": named(outcomes_files())}),
        title_suffix=lambda wildcards: embeddable(config["title_suffix"]),
    shell:
        "cloob report corpus-table {params.corpora:q} --csv={output.csv:q} --title-suffix={params.title_suffix:q} 2>&1 | tee {log:q}"


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
        title_suffix=lambda wildcards: embeddable(config["title_suffix"]),
    shell:
        "cloob report overlap {params.results:q} --csv={output.csv:q} --title-suffix={params.title_suffix:q} 2>&1 | tee {log:q}"


# A table as a page that the report can show: browsers have no eyes for CSV or Markdown.
rule table_html:
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
        "<results>/logs/report/{table}_html.log",
    wildcard_constraints:
        table="|".join(PAGES),
    conda:
        "../../envs/figures.yaml"
    params:
        caption=lambda wildcards: caption_of(f"table_{wildcards.table}"),
    shell:
        "cloob report html --markdown={input:q} --html={output:q} 2>&1 | tee {log:q}"


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
        title_suffix=lambda wildcards: embeddable(config["title_suffix"]),
        caption=lambda wildcards: caption_of(wildcards.figure),
    shell:
        "cloob report figure {wildcards.figure:q} {params.inputs:q} --png={output.png:q}"
        " --title-suffix={params.title_suffix:q} 2>&1 | tee {log:q}"


rule corpus_figure:
    input:
        shards=list(manifests().values()),
        outcomes=list(outcomes_files().values()),
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
        corpora=lambda wildcards: flags({"shards": named(manifests()), "outcomes": named(outcomes_files())}),
        title_suffix=lambda wildcards: embeddable(config["title_suffix"]),
    shell:
        "cloob report corpus-figure {params.corpora:q} --png={output.png:q} --title-suffix={params.title_suffix:q} 2>&1 | tee {log:q}"
