# Lists of captions and links become images with captions; every row is accounted for.


localrules:
    supply,
    fates,
    summary,


# Stands in the plan for what only the user can supply; a real run that needs it does not start.
rule supply:
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


rule cc_links:
    input:
        lambda wildcards: config["corpora"]["cc"][wildcards.split],
    output:
        links="<results>/download/cc/{split}/links.parquet",
        fates="<results>/download/cc/{split}/links_fates.csv",
    log:
        "<results>/logs/download/cc_{split}_links.log",
    conda:
        "../../envs/lists.yaml"
    shell:
        "cloob download cc --list={input:q} --links={output.links:q} --fates={output.fates:q} 2>&1 | tee {log:q}"


rule yfcc_links:
    input:
        metadata=config["corpora"]["yfcc"]["metadata"],
        subset=config["corpora"]["yfcc"]["subset"],
    output:
        links="<results>/download/yfcc/train/links.parquet",
        fates="<results>/download/yfcc/train/links_fates.csv",
    log:
        "<results>/logs/download/yfcc_train_links.log",
    conda:
        "../../envs/lists.yaml"
    # For the decompression; with twice as many the join would be the slower of the two.
    threads: 8
    params:
        flags=lambda wildcards, input: flags(
            {
                "metadata": input.metadata,
                "subset": input.subset,
                "caption": config["corpora"]["yfcc"]["caption"],
                "images_address": config["corpora"]["yfcc"]["images_address"],
            }
        ),
    shell:
        "cloob download yfcc {params.flags:q} --links={output.links:q} --fates={output.fates:q} 2>&1 | tee {log:q}"


# A part of a list. The images lie beside the ledger in a folder that is not declared: what was fetched survives
# a failed job.
rule fetch:
    input:
        "<results>/download/{corpus}/{split}/links.parquet",
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
        "cloob download fetch --links={input:q} --part={params.part:q} --parts={params.parts:q}"
        " --folder={params.folder:q} --ledger={output:q} {params.flags:q} 2>&1 | tee {log:q}"


rule fates:
    input:
        links="<results>/download/{corpus}/{split}/links.parquet",
        ledgers=lambda wildcards: ledgers_of(wildcards.corpus, wildcards.split),
    output:
        "<results>/download/{corpus}/{split}/images_fates.csv",
    log:
        "<results>/logs/download/{corpus}_{split}_fates.log",
    conda:
        "../../envs/lists.yaml"
    params:
        flags=lambda wildcards, input: flags({"ledgers": input.ledgers}),
    shell:
        "cloob download fates --links={input.links:q} {params.flags:q} --fates={output:q} 2>&1 | tee {log:q}"


rule summary:
    input:
        fates=lambda wildcards: [
            f"<results>/download/{corpus}/{split}/links_fates.csv"
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
                "list_fates": [f"{Path(path).parts[-2]}={path}" for path in input.fates],
                "ledgers": [f"{Path(path).parts[-3]}={path}" for path in input.ledgers],
            }
        ),
    shell:
        "cloob download summary {params.flags:q} --summary={output:q} 2>&1 | tee {log:q}"


# What broke off is gone on with: the unfinished part lies beside, under a name that is not declared.
rule published_checkpoint:
    output:
        "<results>/download/published/{published}.pt",
    log:
        "<results>/logs/download/published_{published}.log",
    conda:
        "../../envs/fetch.yaml"
    params:
        flags=lambda wildcards: flags(
            {
                key: config["published"][wildcards.published][key]
                for key in ("address", "maximum_bytes", "checksum")
            }
        ),
    shell:
        "cloob download file {params.flags:q} --out={output:q} 2>&1 | tee {log:q}"
