# URL lists become images with captions; every row is accounted for.


localrules:
    user_inputs,
    image_outcomes,
    summary,


# Missing inputs that only the user can supply. If a target needs one, Snakemake stops before its first job.
rule user_inputs:
    output:
        sorted(set(missing_user_inputs(config).values())),
    log:
        "<results>/logs/download/user_inputs.log",
    conda:
        "../../envs/urls.yaml"
    params:
        message=lambda wildcards, output: missing_inputs_message(config, output),
    shell:
        "printf '%s\\n' {params.message:q} | tee {log:q} >&2; exit 1"


rule urls:
    input:
        unpack(defined(lambda wildcards: corpora.reader_inputs(config, split_of(wildcards)))),
    output:
        urls="<results>/download/{corpus}/{split}/urls.parquet",
        outcomes="<results>/download/{corpus}/{split}/urls_outcomes.csv",
    log:
        "<results>/logs/download/{corpus}_{split}_urls.log",
    conda:
        "../../envs/urls.yaml"
    # For the decompression of large lists; more threads do not help, because parsing is then the bottleneck.
    threads: 8
    params:
        flags=lambda wildcards: corpora.reader_flags(config, split_of(wildcards)),
    shell:
        "cloob download urls {params.flags:q} --urls={output.urls:q} --outcomes={output.outcomes:q}"
        " 2>&1 | tee {log:q}"


# One part of a URL list. The images are next to the ledger in a folder that is not declared, so that they
# survive a failed job.
rule fetch:
    input:
        "<results>/download/{corpus}/{split}/urls.parquet",
    output:
        "<results>/download/{corpus}/{split}/parts/{part}_ledger.parquet",
    log:
        "<results>/logs/download/{corpus}_{split}_fetch_{part}.log",
    conda:
        "../../envs/fetch.yaml"
    threads: config["download"]["processes"]
    params:
        folder=subpath(output[0], strip_suffix="_ledger.parquet"),
        part=lambda wildcards: int(wildcards.part),
        num_parts=lambda wildcards: corpora.num_jobs(config, split_of(wildcards)),
        flags=lambda wildcards: corpora.fetch_flags(config, wildcards.corpus),
        resources=lambda wildcards, input: corpora.fetch_resource_flags(config),
    shell:
        "cloob download fetch --urls={input:q} --part={params.part:q} --num-parts={params.num_parts:q}"
        " --folder={params.folder:q} --ledger={output:q} {params.flags:q} {params.resources:q}"
        " 2>&1 | tee {log:q}"


rule image_outcomes:
    input:
        urls="<results>/download/{corpus}/{split}/urls.parquet",
        ledgers=defined(lambda wildcards: corpora.ledgers(config, split_of(wildcards))),
    output:
        "<results>/download/{corpus}/{split}/images_outcomes.csv",
    log:
        "<results>/logs/download/{corpus}_{split}_outcomes.log",
    conda:
        "../../envs/urls.yaml"
    params:
        flags=lambda wildcards, input: flags({"ledgers": input.ledgers}),
    shell:
        "cloob download outcomes --urls={input.urls:q} @<(printf '%s\\0' {params.flags:q} )"
        " --outcomes={output:q} 2>&1 | tee {log:q}"


rule summary:
    input:
        unpack(defined(lambda wildcards: corpora.summary_inputs(config, wildcards.corpus))),
    output:
        "<results>/download/{corpus}/summary.csv",
    log:
        "<results>/logs/download/{corpus}_summary.log",
    conda:
        "../../envs/urls.yaml"
    params:
        flags=lambda wildcards: corpora.summary_flags(config, wildcards.corpus),
    shell:
        "cloob download summary @<(printf '%s\\0' {params.flags:q} ) --summary={output:q} 2>&1 | tee {log:q}"


# An interrupted download resumes: the incomplete file is next to the output, under an undeclared name.
rule released_checkpoint:
    output:
        "<results>/download/released/{released}.pt",
    log:
        "<results>/logs/download/released_{released}.log",
    wildcard_constraints:
        released=alternatives(released.with_key(config, "url")),
    conda:
        "../../envs/fetch.yaml"
    params:
        flags=lambda wildcards: released.released_checkpoint_flags(config, wildcards.released),
    shell:
        "cloob download file {params.flags:q} --out={output:q} 2>&1 | tee {log:q}"
