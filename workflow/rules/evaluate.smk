# Checkpoints and test sets become small result files, one per (run, epoch, test set, protocol).


# Downloads are kept in a folder that is not declared, so that a failed job resumes them.
rule prepare_testset:
    input:
        spec=lambda wildcards: config["testsets"][wildcards.testset]["spec"],
        local_files=lambda wildcards: config["testsets"][wildcards.testset].get("local_files") or [],
    output:
        directory("<results>/evaluate/testsets/{testset}"),
    log:
        "<results>/logs/evaluate/testset_{testset}.log",
    conda:
        "../../envs/evaluate.yaml"
    threads: 1 + config["evaluate"]["workers"]
    params:
        local_files=lambda wildcards, input: flags({"local_files": input.local_files or None}),
        flags=lambda wildcards: evaluation.prepare_testset_flags(config, wildcards.testset),
        workers=lambda wildcards, input: config["evaluate"]["workers"],
    shell:
        "cloob evaluate prepare-testset --spec={input.spec:q} {params.local_files:q} {params.flags:q}"
        " --workers={params.workers:q} --out={output:q} 2>&1 | tee {log:q}"


# One job embeds all test sets with one checkpoint: importing the model costs more than a small set. Features
# are cached in a folder that is not declared, by the content of checkpoint and data, for all protocols.
rule zeroshot:
    input:
        **evaluation.testset_inputs(config, config["testsets"]),
        final=defined(final_checkpoint_of),
    output:
        results=expand(
            "<results>/evaluate/{{run}}/epoch_{{epoch}}/zeroshot/{testset}.json",
            testset=config["testsets"],
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
        flags=lambda wildcards: evaluation.feature_flags(config),
        workers=lambda wildcards, input: config["evaluate"]["workers"],
    shell:
        "cloob evaluate zeroshot --checkpoint={params.checkpoint:q} {params.testsets:q} {params.flags:q}"
        " --workers={params.workers:q} --out-dir={params.folder:q} --predictions-dir={params.predictions:q}"
        " 2>&1 | tee {log:q}"


# The only job for which open_clip may download weights: later ones read the folder.
rule open_clip_model:
    input:
        lambda wildcards: released.open_clip_inputs(config, wildcards.released),
    output:
        multiext("<results>/download/released/{released}/open_clip_", "config.json", "model.safetensors"),
    log:
        "<results>/logs/evaluate/open_clip_{released}.log",
    wildcard_constraints:
        released=alternatives(released.with_key(config, "open_clip")),
    conda:
        "../../envs/evaluate.yaml"
    params:
        source=lambda wildcards: released.open_clip_source(config, wildcards.released),
        folder=subpath(output[0], parent=True),
    shell:
        "cloob export {params.source:q} --out={params.folder:q} 2>&1 | tee {log:q}"


use rule zeroshot as released_zeroshot with:
    input:
        **evaluation.testset_inputs(config, config["testsets"]),
        checkpoint=lambda wildcards: released.released_model(config, wildcards.released),
    output:
        results=expand(
            "<results>/evaluate/released/{{released}}/zeroshot/{testset}.json",
            testset=config["testsets"],
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
        flags=lambda wildcards: evaluation.feature_flags(config),
        workers=lambda wildcards, input: config["evaluate"]["workers"],


# One job for all test sets with training images; ImageNet's are also used for ImageNetV2.
rule linear_probe:
    input:
        **evaluation.testset_inputs(config, evaluation.probed_testsets(config)),
        final=defined(final_checkpoint_of),
    output:
        expand(
            "<results>/evaluate/{{run}}/epoch_{{epoch}}/linear_probe/{testset}.json",
            testset=list(evaluation.probed_testsets(config)) or ["none"],
        ),
    log:
        "<results>/logs/evaluate/{run}_epoch_{epoch}_linear_probe.log",
    conda:
        "../../envs/evaluate.yaml"
    threads: 1 + config["evaluate"]["workers"]
    params:
        checkpoint=checkpoint_of,
        testsets=probed_testset_flags,
        folder=subpath(output[0], parent=True),
        flags=lambda wildcards: evaluation.feature_flags(config),
        workers=lambda wildcards, input: config["evaluate"]["workers"],
        probe=lambda wildcards: evaluation.linear_probe_flags(config),
    shell:
        "cloob evaluate linear-probe --checkpoint={params.checkpoint:q} {params.testsets:q} {params.flags:q}"
        " {params.probe:q} --workers={params.workers:q} --out-dir={params.folder:q} 2>&1 | tee {log:q}"


use rule linear_probe as released_linear_probe with:
    input:
        **evaluation.testset_inputs(config, evaluation.probed_testsets(config)),
        checkpoint=lambda wildcards: released.released_model(config, wildcards.released),
    output:
        expand(
            "<results>/evaluate/released/{{released}}/linear_probe/{testset}.json",
            testset=list(evaluation.probed_testsets(config)) or ["none"],
        ),
    log:
        "<results>/logs/evaluate/released_{released}_linear_probe.log",
    params:
        checkpoint=lambda wildcards, input: input.checkpoint,
        testsets=probed_testset_flags,
        folder=subpath(output[0], parent=True),
        flags=lambda wildcards: evaluation.feature_flags(config),
        workers=lambda wildcards, input: config["evaluate"]["workers"],
        probe=lambda wildcards: evaluation.linear_probe_flags(config),


# Like the downloads of test sets, a partial download is kept in a folder that is not declared.
rule download_retrieval_set:
    output:
        directory("<results>/evaluate/retrieval_sets/{retrieval_set}"),
    log:
        "<results>/logs/evaluate/retrieval_set_{retrieval_set}.log",
    conda:
        "../../envs/evaluate.yaml"
    params:
        flags=lambda wildcards: evaluation.download_retrieval_set_flags(config, wildcards.retrieval_set),
    shell:
        "cloob evaluate download-retrieval-set {params.flags:q} --out={output:q} 2>&1 | tee {log:q}"


# Image-text retrieval and embedding structure in one job: both are fast, importing the model takes seconds.
rule image_text:
    input:
        final=defined(final_checkpoint_of),
        pairs=evaluation.retrieval_set_paths(config),
        images=evaluation.retrieval_set_folders(config),
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
        retrieval_sets=retrieval_set_flags,
        retrieval=lambda wildcards, output: Path(output.retrieval[0]).parent,
        structure=lambda wildcards, output: Path(output.structure[0]).parent,
        flags=lambda wildcards: evaluation.feature_flags(config),
        workers=lambda wildcards, input: config["evaluate"]["workers"],
    shell:
        "cloob evaluate image-text --checkpoint={params.checkpoint:q} {params.retrieval_sets:q}"
        " {params.flags:q} --workers={params.workers:q} --retrieval-dir={params.retrieval:q}"
        " --structure-dir={params.structure:q}"
        " 2>&1 | tee {log:q}"


use rule image_text as released_image_text with:
    input:
        checkpoint=lambda wildcards: released.released_model(config, wildcards.released),
        pairs=evaluation.retrieval_set_paths(config),
        images=evaluation.retrieval_set_folders(config),
    output:
        retrieval=expand(
            "<results>/evaluate/released/{{released}}/retrieval/{retrieval_set}.json",
            retrieval_set=config["evaluate"]["retrieval_sets"],
        ),
        structure=expand(
            "<results>/evaluate/released/{{released}}/embedding_structure/{retrieval_set}.json",
            retrieval_set=config["evaluate"]["retrieval_sets"],
        ),
    log:
        "<results>/logs/evaluate/released_{released}_image_text.log",
    params:
        checkpoint=lambda wildcards, input: input.checkpoint,
        retrieval_sets=retrieval_set_flags,
        retrieval=lambda wildcards, output: Path(output.retrieval[0]).parent,
        structure=lambda wildcards, output: Path(output.structure[0]).parent,
        flags=lambda wildcards: evaluation.feature_flags(config),
        workers=lambda wildcards, input: config["evaluate"]["workers"],


# Test images that are in a training corpus. One job for all test sets, so that the corpus's index is read once.
rule overlap:
    input:
        **evaluation.testset_inputs(config, config["testsets"]),
        shards="<results>/shards/{corpus}/train/shards.json",
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
        flags=lambda wildcards: evaluation.overlap_flags(config),
        processes=lambda wildcards, input: config["shards"]["processes"],
    shell:
        "cloob evaluate overlap --corpus={wildcards.corpus:q} --shards={input.shards:q} {params.testsets:q}"
        " {params.flags:q} --processes={params.processes:q} --out-dir={params.folder:q} 2>&1 | tee {log:q}"
