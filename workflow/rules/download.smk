# Lists of captions and links become images with captions; every row is accounted for.


localrules:
    supply,
    fates,
    summary,


# Stands in the plan for what only the user can supply; a real run that needs it does not start.
rule supply:
    output:
        list(supplies().values()),
    log:
        "<results>/logs/download/supply.log",
    conda:
        "../../envs/lists.yaml"
    params:
        message=lambda wildcards, output: wanted_supplies(output),
    shell:
        "echo {params.message:q} | tee {log} >&2; exit 1"


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
        "cloob download cc --list {input:q} --links {output.links} --fates {output.fates} 2>&1 | tee {log}"


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
    params:
        caption=config["corpora"]["yfcc"]["caption"],
        address=config["corpora"]["yfcc"]["images_address"],
    shell:
        "cloob download yfcc --metadata {input.metadata:q} --subset {input.subset:q} --caption {params.caption}"
        " --images-address {params.address:q} --links {output.links} --fates {output.fates} 2>&1 | tee {log}"


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
        "cloob download fetch --links {input} --part {params.part} --parts {params.parts}"
        " --folder {params.folder} --ledger {output} {params.flags} 2>&1 | tee {log}"


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
    shell:
        "cloob download fates --links {input.links} --ledgers {input.ledgers} --fates {output} 2>&1 | tee {log}"


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
        fates=lambda wildcards, input: [f"{Path(path).parts[-2]}={path}" for path in input.fates],
        ledgers=lambda wildcards, input: [f"{Path(path).parts[-3]}={path}" for path in input.ledgers],
    shell:
        "cloob download summary --list-fates {params.fates} --ledgers {params.ledgers} --summary {output}"
        " 2>&1 | tee {log}"


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
                if config["published"][wildcards.published][key] is not None
            }
        ),
    shell:
        "cloob download file {params.flags} --out {output} 2>&1 | tee {log}"
