# Downloads become verified webdataset shards with an index.


rule pack:
    input:
        links="<results>/download/{corpus}/{split}/links.parquet",
        images="<results>/download/{corpus}/{split}/images_fates.csv",
    output:
        shards="<results>/shards/{corpus}/{split}/shards.json",
        fates="<results>/shards/{corpus}/{split}/fates.csv",
    log:
        "<results>/logs/shards/{corpus}_{split}_pack.log",
    conda:
        "../../envs/shards.yaml"
    params:
        images=subpath(input.images, parent=True),
        folder=subpath(output.shards, parent=True),
        samples=config["shards"]["samples"],
    shell:
        "cloob shards pack --images {params.images}/images --links {input.links} --fates-before {input.images}"
        " --out {params.folder} --fates {output.fates} --samples-per-shard {params.samples} 2>&1 | tee {log}"
