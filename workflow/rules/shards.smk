# Downloads become verified webdataset shards with an index.


rule pack:
    input:
        "<results>/download/{corpus}/{split}/images_fates.csv",
    output:
        shards="<results>/shards/{corpus}/{split}/shards.json",
        fates="<results>/shards/{corpus}/{split}/fates.csv",
    log:
        "<results>/logs/shards/{corpus}_{split}_pack.log",
    conda:
        "../../envs/shards.yaml"
    threads: config["shards"]["processes"]
    params:
        images=subpath(input[0], parent=True),
        folder=subpath(output.shards, parent=True),
        flags=flags(config["shards"]),
    shell:
        "cloob shards pack --images {params.images}/images --fates-before {input} --out {params.folder}"
        " --fates {output.fates} {params.flags} 2>&1 | tee {log}"
