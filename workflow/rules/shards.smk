# Downloads, webdataset shards or image files become verified webdataset shards with an index.


rule pack:
    input:
        unpack(defined(lambda wildcards: corpora.pack_inputs(config, split_of(wildcards)))),
    output:
        shards="<results>/shards/{corpus}/{split}/shards.json",
        outcomes="<results>/shards/{corpus}/{split}/outcomes.csv",
    log:
        "<results>/logs/shards/{corpus}_{split}_pack.log",
    conda:
        "../../envs/shards.yaml"
    threads: config["shards"]["processes"]
    params:
        folder=subpath(output.shards, parent=True),
        source=lambda wildcards, input: flags(dict(input.items())),
        flags=lambda wildcards: corpora.pack_flags(config, split_of(wildcards)),
        processes=lambda wildcards, input: config["shards"]["processes"],
    shell:
        "cloob shards pack @<(printf '%s\\0' {params.source:q} ) --out={params.folder:q}"
        " --outcomes={output.outcomes:q} {params.flags:q} --processes={params.processes:q} 2>&1 | tee {log:q}"


# Every byte is read and every image decoded again. Run it again by hand after moving or copying a corpus.
rule verify:
    input:
        shards="<results>/shards/{corpus}/{split}/shards.json",
        outcomes="<results>/shards/{corpus}/{split}/outcomes.csv",
    output:
        "<results>/shards/{corpus}/{split}/verified.json",
    log:
        "<results>/logs/shards/{corpus}_{split}_verify.log",
    conda:
        "../../envs/shards.yaml"
    threads: config["shards"]["processes"]
    params:
        processes=lambda wildcards, input: config["shards"]["processes"],
    shell:
        "cloob shards verify --shards={input.shards:q} --outcomes={input.outcomes:q} --out={output:q}"
        " --processes={params.processes:q} 2>&1 | tee {log:q}"
