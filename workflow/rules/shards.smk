# Downloads, or shards that somebody froze, become verified webdataset shards with an index.


rule pack:
    input:
        unpack(packed),
    output:
        shards="<results>/shards/{corpus}/{split}/shards.json",
        fates="<results>/shards/{corpus}/{split}/fates.csv",
    log:
        "<results>/logs/shards/{corpus}_{split}_pack.log",
    conda:
        "../../envs/shards.yaml"
    threads: config["shards"]["processes"]
    params:
        folder=subpath(output.shards, parent=True),
        source=lambda wildcards, input: flags(dict(input.items())),
        flags=pack_flags,
    shell:
        "cloob shards pack {params.source:q} --out={params.folder:q} --fates={output.fates:q} {params.flags:q}"
        " 2>&1 | tee {log:q}"


# Every byte is read and every image decoded again: after packing, and by hand after a corpus was moved or copied.
rule verify:
    input:
        shards="<results>/shards/{corpus}/{split}/shards.json",
        fates="<results>/shards/{corpus}/{split}/fates.csv",
    output:
        "<results>/shards/{corpus}/{split}/verified.json",
    log:
        "<results>/logs/shards/{corpus}_{split}_verify.log",
    conda:
        "../../envs/shards.yaml"
    threads: config["shards"]["processes"]
    params:
        processes=config["shards"]["processes"],
    shell:
        "cloob shards verify --shards={input.shards:q} --fates={input.fates:q} --out={output:q}"
        " --processes={params.processes:q} 2>&1 | tee {log:q}"
