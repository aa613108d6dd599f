# Lists of captions and links become images with captions; every row is accounted for.


localrules:
    user_inputs,
    image_outcomes,
    summary,


# Stands in the plan for what only the user can supply; a real run that needs it does not start.
rule user_inputs:
    output:
        sorted(set(supplies().values())),
    log:
        "<results>/logs/download/supply.log",
    conda:
        "../../envs/lists.yaml"
    params:
        message=lambda wildcards, output: wanted_supplies(output),
    shell:
        "printf '%s\\n' {params.message:q} | tee {log:q} >&2; exit 1"


rule cc3m_urls:
    input:
        lambda wildcards: config["corpora"]["cc3m"][wildcards.split],
    output:
        urls="<results>/download/cc3m/{split}/urls.parquet",
        outcomes="<results>/download/cc3m/{split}/urls_outcomes.csv",
    log:
        "<results>/logs/download/cc3m_{split}_links.log",
    conda:
        "../../envs/lists.yaml"
    shell:
        "cloob download urls --reader=conceptual_captions --list={input:q} --urls={output.urls:q}"
        " --outcomes={output.outcomes:q} 2>&1 | tee {log:q}"


rule yfcc15m_urls:
    input:
        metadata=config["corpora"]["yfcc15m"]["metadata"],
        subset=config["corpora"]["yfcc15m"]["subset"],
    output:
        urls="<results>/download/yfcc15m/train/urls.parquet",
        outcomes="<results>/download/yfcc15m/train/urls_outcomes.csv",
    log:
        "<results>/logs/download/yfcc15m_train_links.log",
    conda:
        "../../envs/lists.yaml"
    # For the decompression; with twice as many the join would be the slower of the two.
    threads: 8
    params:
        flags=lambda wildcards, input: flags(
            {
                "metadata": input.metadata,
                "subset": input.subset,
                "caption": config["corpora"]["yfcc15m"]["caption"],
                "image_base_url": config["corpora"]["yfcc15m"]["image_base_url"],
            }
        ),
    shell:
        "cloob download urls --reader=yfcc100m {params.flags:q} --urls={output.urls:q}"
        " --outcomes={output.outcomes:q} 2>&1 | tee {log:q}"


# A part of a list. The images lie beside the ledger in a folder that is not declared: what was fetched survives
# a failed job.
rule fetch:
    input:
        "<results>/download/{corpus}/{split}/urls.parquet",
    output:
        "<results>/download/{corpus}/{split}/parts/{part}_ledger.parquet",
    log:
        "<results>/logs/download/{corpus}_{split}_fetch_{part}.log",
    wildcard_constraints:
        part=r"\d{4}",
    conda:
        "../../envs/fetch.yaml"
    threads: config["download"]["processes"]
    params:
        folder=subpath(output[0], strip_suffix="_ledger.parquet"),
        part=lambda wildcards: int(wildcards.part),
        parts=parts,
        flags=fetch_flags,
    shell:
        "cloob download fetch --urls={input:q} --part={params.part:q} --num-parts={params.parts:q}"
        " --folder={params.folder:q} --ledger={output:q} {params.flags:q} 2>&1 | tee {log:q}"


rule image_outcomes:
    input:
        urls="<results>/download/{corpus}/{split}/urls.parquet",
        ledgers=lambda wildcards: ledgers_of(wildcards.corpus, wildcards.split),
    output:
        "<results>/download/{corpus}/{split}/images_outcomes.csv",
    log:
        "<results>/logs/download/{corpus}_{split}_outcomes.log",
    conda:
        "../../envs/lists.yaml"
    params:
        flags=lambda wildcards, input: flags({"ledgers": input.ledgers}),
    shell:
        "cloob download outcomes --urls={input.urls:q} {params.flags:q} --outcomes={output:q} 2>&1 | tee {log:q}"


rule summary:
    input:
        outcomes=lambda wildcards: [
            f"<results>/download/{corpus}/{split}/urls_outcomes.csv"
            for corpus, split in downloaded()
            if corpus == wildcards.corpus
        ],
        ledgers=lambda wildcards: [
            path
            for corpus, split in downloaded()
            if corpus == wildcards.corpus
            for path in ledgers_of(corpus, split)
        ],
    output:
        "<results>/download/{corpus}/summary.csv",
    log:
        "<results>/logs/download/{corpus}_summary.log",
    conda:
        "../../envs/lists.yaml"
    params:
        flags=lambda wildcards, input: flags(
            {
                "list_outcomes": [f"{Path(path).parts[-2]}={path}" for path in input.outcomes],
                "ledgers": [f"{Path(path).parts[-3]}={path}" for path in input.ledgers],
            }
        ),
    shell:
        "cloob download summary {params.flags:q} --summary={output:q} 2>&1 | tee {log:q}"


# What broke off is gone on with: the unfinished part lies beside, under a name that is not declared.
rule released_checkpoint:
    output:
        "<results>/download/released/{released}.pt",
    log:
        "<results>/logs/download/released_{released}.log",
    conda:
        "../../envs/fetch.yaml"
    params:
        flags=lambda wildcards: flags(
            {
                key: config["released_checkpoints"][wildcards.released][key]
                for key in ("url", "max_bytes", "checksum")
            }
        ),
    shell:
        "cloob download file {params.flags:q} --out={output:q} 2>&1 | tee {log:q}"
