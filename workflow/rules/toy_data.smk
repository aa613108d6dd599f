# The synthetic toy dataset of the demo and the tests: URL lists, the images behind them, and test sets.


rule toy_data:
    output:
        toy_files(config),
        [directory(folder) for folder in toy_folders(config)],
        metadata="<results>/toy_data/toy_data.json",
    log:
        "<results>/logs/toy_data/generate.log",
    conda:
        "../../envs/toy_data.yaml"
    threads: 2
    params:
        folder=subpath(output.metadata, parent=True),
        flags=lambda wildcards: toy_flags(config),
    shell:
        "cloob toy-data generate --out={params.folder:q} {params.flags:q} 2>&1 | tee {log:q}"
