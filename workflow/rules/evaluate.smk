# Checkpoints meet test sets: one small result file per (run, epoch, test set, protocol).


# What was fetched stays in a folder that is not declared, so that a failed job goes on where it broke off.
rule prepare_testset:
    input:
        spec=lambda wildcards: config["testsets"][wildcards.testset]["spec"],
        local_files=lambda wildcards: config["testsets"][wildcards.testset].get("local_files") or [],
    output:
        directory("<results>/evaluate/testsets/{testset}"),
    log:
        "<results>/logs/evaluate/testset_{testset}.log",
    wildcard_constraints:
        testset="|".join(config["testsets"]),
    conda:
        "../../envs/evaluate.yaml"
    threads: 1 + config["evaluate"]["workers"]
    params:
        flags=lambda wildcards, input: flags(
            {
                "source": config["testsets"][wildcards.testset].get("source", "processed"),
                "local_files": input.local_files or None,
                "archives": f"{config['results']}/evaluate/testset_archives/{wildcards.testset}",
                "workers": config["evaluate"]["workers"],
            }
        ),
    shell:
        "cloob evaluate prepare-testset --spec={input.spec:q} {params.flags:q} --out={output:q} 2>&1 | tee {log:q}"


# One job embeds all test sets with one checkpoint: importing the model costs more than a small set. Features lie in
# a folder that is not declared, by the content of checkpoint and data: all protocols take them from there.
rule zeroshot:
    input:
        final="<results>/train/{run}/final.pt",
        specs=[testset["spec"] for testset in config["testsets"].values()],
        folders=[testset["folder"] for testset in config["testsets"].values()],
    output:
        results=expand(
            "<results>/evaluate/{{run}}/epoch_{{epoch}}/zeroshot/{testset}.json", testset=config["testsets"]
        ),
        predictions=expand(
            "<results>/evaluate/{{run}}/epoch_{{epoch}}/predictions/{testset}.json",
            testset=config["testsets"],
        ),
    log:
        "<results>/logs/evaluate/{run}_epoch_{epoch}_zeroshot.log",
    conda:
        "../../envs/evaluate.yaml"
    threads: 1 + config["evaluate"]["workers"]
    params:
        checkpoint=checkpoint_of,
        testsets=testset_flags,
        folder=lambda wildcards, output: Path(output.results[0]).parent,
        predictions=lambda wildcards, output: Path(output.predictions[0]).parent,
        flags=evaluate_flags,
    shell:
        "cloob evaluate zeroshot --checkpoint={params.checkpoint:q} {params.testsets:q} {params.flags:q}"
        " --out-dir={params.folder:q} --predictions-dir={params.predictions:q} 2>&1 | tee {log:q}"


use rule zeroshot as released_zeroshot with:
    input:
        checkpoint="<results>/download/released/{released}.pt",
        specs=[testset["spec"] for testset in config["testsets"].values()],
        folders=[testset["folder"] for testset in config["testsets"].values()],
    output:
        results=expand(
            "<results>/evaluate/released/{{released}}/zeroshot/{testset}.json", testset=config["testsets"]
        ),
        predictions=expand(
            "<results>/evaluate/released/{{released}}/predictions/{testset}.json",
            testset=config["testsets"],
        ),
    log:
        "<results>/logs/evaluate/released_{released}_zeroshot.log",
    params:
        checkpoint=lambda wildcards, input: input.checkpoint,
        testsets=testset_flags,
        folder=lambda wildcards, output: Path(output.results[0]).parent,
        predictions=lambda wildcards, output: Path(output.predictions[0]).parent,
        flags=evaluate_flags,


# One job for all test sets that have training images; those of ImageNet serve ImageNetV2 too.
rule linear_probe:
    input:
        final="<results>/train/{run}/final.pt",
        specs=[config["testsets"][name]["spec"] for name in probed()],
        folders=[config["testsets"][name]["folder"] for name in probed()],
    output:
        expand(
            "<results>/evaluate/{{run}}/epoch_{{epoch}}/linear_probe/{testset}.json",
            testset=list(probed()) or ["none"],
        ),
    log:
        "<results>/logs/evaluate/{run}_epoch_{epoch}_linear_probe.log",
    conda:
        "../../envs/evaluate.yaml"
    threads: 1 + config["evaluate"]["workers"]
    params:
        checkpoint=checkpoint_of,
        testsets=testset_flags,
        folder=subpath(output[0], parent=True),
        flags=evaluate_flags,
        probe=linear_probe_flags,
    shell:
        "cloob evaluate linear-probe --checkpoint={params.checkpoint:q} {params.testsets:q} {params.flags:q}"
        " {params.probe:q} --out-dir={params.folder:q} 2>&1 | tee {log:q}"


use rule linear_probe as released_linear_probe with:
    input:
        checkpoint="<results>/download/released/{released}.pt",
        specs=[config["testsets"][name]["spec"] for name in probed()],
        folders=[config["testsets"][name]["folder"] for name in probed()],
    output:
        expand(
            "<results>/evaluate/released/{{released}}/linear_probe/{testset}.json",
            testset=list(probed()) or ["none"],
        ),
    log:
        "<results>/logs/evaluate/released_{released}_linear_probe.log",
    params:
        checkpoint=lambda wildcards, input: input.checkpoint,
        testsets=testset_flags,
        folder=subpath(output[0], parent=True),
        flags=evaluate_flags,
        probe=linear_probe_flags,


# Both protocols of captioned images in one job: each takes a moment, importing the model takes seconds.
rule image_text:
    input:
        final="<results>/train/{run}/final.pt",
        shards=retrieval_set_shards(),
    output:
        retrieval=expand(
            "<results>/evaluate/{{run}}/epoch_{{epoch}}/retrieval/{retrieval_set}.json",
            retrieval_set=config["evaluate"]["retrieval_sets"],
        ),
        structure=expand(
            "<results>/evaluate/{{run}}/epoch_{{epoch}}/embedding_structure/{retrieval_set}.json",
            retrieval_set=config["evaluate"]["retrieval_sets"],
        ),
    log:
        "<results>/logs/evaluate/{run}_epoch_{epoch}_image_text.log",
    conda:
        "../../envs/evaluate.yaml"
    threads: 1 + config["evaluate"]["workers"]
    params:
        checkpoint=checkpoint_of,
        retrieval_sets=image_text_flags,
        retrieval=lambda wildcards, output: Path(output.retrieval[0]).parent,
        structure=lambda wildcards, output: Path(output.structure[0]).parent,
        flags=evaluate_flags,
    shell:
        "cloob evaluate image-text --checkpoint={params.checkpoint:q} {params.retrieval_sets:q} {params.flags:q}"
        " --retrieval-dir={params.retrieval:q} --structure-dir={params.structure:q} 2>&1 | tee {log:q}"


# Test images that are in a training corpus: one job for all test sets, because the index of the corpus is read once.
rule overlap:
    input:
        shards="<results>/shards/{corpus}/train/shards.json",
        specs=[testset["spec"] for testset in config["testsets"].values()],
        folders=[testset["folder"] for testset in config["testsets"].values()],
    output:
        expand("<results>/evaluate/overlap/{{corpus}}/{testset}.json", testset=config["testsets"]),
    log:
        "<results>/logs/evaluate/{corpus}_overlap.log",
    conda:
        "../../envs/evaluate.yaml"
    threads: config["shards"]["processes"]
    params:
        testsets=testset_flags,
        folder=subpath(output[0], parent=True),
        flags=overlap_flags,
    shell:
        "cloob evaluate overlap --corpus={wildcards.corpus:q} --shards={input.shards:q} {params.testsets:q}"
        " {params.flags:q} --out-dir={params.folder:q} 2>&1 | tee {log:q}"
