# The small world. Nothing of the paper asks for it; the lists and test sets of config/demo.yaml lie in it.


rule toy_data:
    output:
        "<results>/toy_data/cc3m/Train_GCC-training.tsv",
        "<results>/toy_data/cc3m/Validation_GCC-1.1.0-Validation.tsv",
        "<results>/toy_data/yfcc15m/yfcc100m_dataset.bz2",
        "<results>/toy_data/yfcc15m/yfcc100m_subset_data.tsv.bz2",
        expand("<results>/toy_data/testsets/{testset}.yaml", testset=config["testsets"]),
        directory(expand("<results>/toy_data/testsets/{testset}", testset=config["testsets"])),
        directory("<results>/toy_data/www"),
        facts="<results>/toy_data/toy_data.json",
    log:
        "<results>/logs/toy_data/build.log",
    conda:
        "../../envs/toy_data.yaml"
    threads: 2
    params:
        folder=subpath(output.facts, parent=True),
        flags=lambda wildcards: flags(config["toy_data"]),
    shell:
        "cloob toy-data generate --out={params.folder:q} {params.flags:q} 2>&1 | tee {log:q}"
