# The small world. Nothing of the paper asks for it; the lists and test sets of config/demo.yaml lie in it.


rule world:
    output:
        "<results>/world/cc/Train_GCC-training.tsv",
        "<results>/world/cc/Validation_GCC-1.1.0-Validation.tsv",
        "<results>/world/yfcc/yfcc100m_dataset.bz2",
        "<results>/world/yfcc/yfcc100m_subset_data.tsv.bz2",
        expand("<results>/world/testsets/{testset}.yaml", testset=config["testsets"]),
        directory(expand("<results>/world/testsets/{testset}", testset=config["testsets"])),
        directory("<results>/world/www"),
        facts="<results>/world/world.json",
    log:
        "<results>/logs/world/build.log",
    conda:
        "../../envs/world.yaml"
    threads: 2
    params:
        folder=subpath(output.facts, parent=True),
        flags=lambda wildcards: flags(config["world"]),
    shell:
        "cloob world build --out={params.folder:q} {params.flags:q} 2>&1 | tee {log:q}"
