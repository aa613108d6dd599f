# Checkpoints meet test sets: one small result file per (run, epoch, test set, protocol).


# What was fetched stays in a folder that is not declared, so that a failed job goes on where it broke off.
rule testset:
    input:
        description=lambda wildcards: config["testsets"][wildcards.testset]["description"],
        original=lambda wildcards: config["testsets"][wildcards.testset].get("original") or [],
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
                "original": input.original or None,
                "archives": f"{config['results']}/evaluate/testset_archives/{wildcards.testset}",
                "workers": config["evaluate"]["workers"],
            }
        ),
    shell:
        "cloob evaluate testset --description={input.description:q} {params.flags:q} --out={output:q} 2>&1 | tee {log:q}"


# One job embeds all test sets with one checkpoint: importing the model costs more than a small set. Features lie in
# a folder that is not declared, by the content of checkpoint and data: all protocols take them from there.
rule zeroshot:
    input:
        final="<results>/train/{run}/final.pt",
        descriptions=[testset["description"] for testset in config["testsets"].values()],
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


use rule zeroshot as published_zeroshot with:
    input:
        checkpoint="<results>/download/published/{published}.pt",
        descriptions=[testset["description"] for testset in config["testsets"].values()],
        folders=[testset["folder"] for testset in config["testsets"].values()],
    output:
        results=expand(
            "<results>/evaluate/published/{{published}}/zeroshot/{testset}.json", testset=config["testsets"]
        ),
        predictions=expand(
            "<results>/evaluate/published/{{published}}/predictions/{testset}.json",
            testset=config["testsets"],
        ),
    log:
        "<results>/logs/evaluate/published_{published}_zeroshot.log",
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
        descriptions=[config["testsets"][name]["description"] for name in probed()],
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


use rule linear_probe as published_linear_probe with:
    input:
        checkpoint="<results>/download/published/{published}.pt",
        descriptions=[config["testsets"][name]["description"] for name in probed()],
        folders=[config["testsets"][name]["folder"] for name in probed()],
    output:
        expand(
            "<results>/evaluate/published/{{published}}/linear_probe/{testset}.json",
            testset=list(probed()) or ["none"],
        ),
    log:
        "<results>/logs/evaluate/published_{published}_linear_probe.log",
    params:
        checkpoint=lambda wildcards, input: input.checkpoint,
        testsets=testset_flags,
        folder=subpath(output[0], parent=True),
        flags=evaluate_flags,
        probe=linear_probe_flags,


# Both protocols of captioned images in one job: each takes a moment, importing the model takes seconds.
rule captioned:
    input:
        final="<results>/train/{run}/final.pt",
        shards=captioned_shards(),
    output:
        retrieval=expand(
            "<results>/evaluate/{{run}}/epoch_{{epoch}}/retrieval/{captioned}.json",
            captioned=config["evaluate"]["captioned"],
        ),
        structure=expand(
            "<results>/evaluate/{{run}}/epoch_{{epoch}}/embedding_structure/{captioned}.json",
            captioned=config["evaluate"]["captioned"],
        ),
    log:
        "<results>/logs/evaluate/{run}_epoch_{epoch}_captioned.log",
    conda:
        "../../envs/evaluate.yaml"
    threads: 1 + config["evaluate"]["workers"]
    params:
        checkpoint=checkpoint_of,
        captioned=captioned_flags,
        retrieval=lambda wildcards, output: Path(output.retrieval[0]).parent,
        structure=lambda wildcards, output: Path(output.structure[0]).parent,
        flags=evaluate_flags,
    shell:
        "cloob evaluate captioned --checkpoint={params.checkpoint:q} {params.captioned:q} {params.flags:q}"
        " --retrieval-dir={params.retrieval:q} --structure-dir={params.structure:q} 2>&1 | tee {log:q}"
