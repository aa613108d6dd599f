# Result files become tables and figures: light work, done where snakemake runs. Their inputs may be more
# than fit on a command line, so they are passed as a file (see common.smk).


localrules:
    table,
    table_html,
    figure,


# The log of a run is read once; tables and figures read columns of its compact form.
rule compact_log:
    input:
        "<results>/train/{run}/metrics.jsonl",
    output:
        "<results>/train/{run}/metrics.parquet",
    log:
        "<results>/logs/report/{run}_compact_log.log",
    conda:
        "../../envs/tables.yaml"
    shell:
        "cloob report compact-log --log={input:q} --out={output:q} 2>&1 | tee {log:q}"


# Every table of `cloob.report.registry`; `--config allow_missing=True` builds it from existing results.
rule table:
    input:
        lambda wildcards: report_files("table", wildcards.table),
    output:
        csv="<results>/tables/{table}.csv",
        text=multiext("<results>/tables/{table}", ".md", ".tex"),
    log:
        "<results>/logs/report/{table}_table.log",
    conda:
        "../../envs/tables.yaml"
    params:
        flags=lambda wildcards: report_inputs.report_flags(config, "table", wildcards.table, WORKFLOW),
    shell:
        "cloob report table {wildcards.table:q} @<(printf '%s\\0' {params.flags:q} ) --csv={output.csv:q}"
        " 2>&1 | tee {log:q}"


# A table as a page of the HTML report, because browsers display neither CSV nor Markdown.
rule table_html:
    input:
        "<results>/tables/{table}.md",
    output:
        report(
            "<results>/tables/{table}.html",
            caption="../report/caption.rst",
            category=lambda wildcards: tables()[wildcards.table].category,
            labels=lambda wildcards: {"result": wildcards.table.replace("_", " "), "kind": "table"},
        ),
    log:
        "<results>/logs/report/{table}_html.log",
    conda:
        "../../envs/figures.yaml"
    params:
        caption=lambda wildcards: tables()[wildcards.table].caption,
    shell:
        "cloob report html --markdown={input:q} --html={output:q} 2>&1 | tee {log:q}"


# Every figure: as PNG and SVG for screens and PDF for print, with the data behind it.
rule figure:
    input:
        lambda wildcards: report_files("figure", wildcards.figure),
    output:
        png=report(
            "<results>/figures/{figure}.png",
            caption="../report/caption.rst",
            category=lambda wildcards: figures()[wildcards.figure].category,
            labels=lambda wildcards: {"result": wildcards.figure.replace("_", " "), "kind": "figure"},
        ),
        others=multiext("<results>/figures/{figure}", ".svg", ".pdf", ".csv", ".sources.json"),
    log:
        "<results>/logs/report/{figure}_figure.log",
    conda:
        "../../envs/figures.yaml"
    params:
        flags=lambda wildcards: report_inputs.report_flags(config, "figure", wildcards.figure, WORKFLOW),
        caption=lambda wildcards: figures()[wildcards.figure].caption,
    shell:
        "cloob report figure {wildcards.figure:q} @<(printf '%s\\0' {params.flags:q} ) --png={output.png:q}"
        " 2>&1 | tee {log:q}"
