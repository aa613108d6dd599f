# Shards become checkpoints of CLOOB, CLIP and the ablations.


# Functions that start the processes of a run, named by the resource `launcher`: torchrun on this machine
# (called by `cloob train`, which reports the cause of a failure last), srun in a Slurm job. Both forward the
# signals at which a run saves a checkpoint and stops. Rendezvous variables inherited from Snakemake's own
# environment would be shared by all runs.
LAUNCHERS = """
unset RANK WORLD_SIZE LOCAL_RANK LOCAL_WORLD_SIZE MASTER_ADDR MASTER_PORT ${{!TORCHELASTIC_@}}
torchrun_processes() {{
    python "${{@:4}}" --processes "$1"
}}
srun_processes() {{
    srun --nodes "$3" --ntasks "$1" --cpus-per-task "$2" --kill-on-bad-exit=1 python "${{@:4}}"
}}
"""


# Running checkpoints are in a folder that is not declared, so that a failed run resumes from them.
rule train:
    input:
        unpack(defined(lambda wildcards: runs.training_inputs(config, wildcards.run))),
    output:
        final="<results>/train/{run}/final.pt",
        metrics="<results>/train/{run}/metrics.jsonl",
        export=multiext("<results>/train/{run}/open_clip/open_clip_", "config.json", "model.safetensors"),
    log:
        "<results>/logs/train/{run}.log",
    conda:
        "../../envs/train.yaml"
    threads: lambda wildcards: runs.num_cpus(config, runs.num_processes(config, wildcards.run))
    resources:
        launcher="torchrun",
        nodes=1,
    params:
        inputs=lambda wildcards, input: flags(dict(input.items())),
        folder=subpath(output.final, parent=True),
        flags=lambda wildcards: runs.train_flags(config, wildcards.run),
        setup=lambda wildcards, input: runs.setup_flags(config),
        processes=lambda wildcards, input: runs.num_processes(config, wildcards.run),
        workers=lambda wildcards, input: config["train"]["workers"],
    shell:
        LAUNCHERS
        + "{resources.launcher:q}_processes {params.processes:q} $((1 + {params.workers:q})) {resources.nodes:q}"
        " -m cloob train {params.inputs:q} --folder={params.folder:q} {params.flags:q} {params.setup:q}"
        " --workers={params.workers:q}"
        # A run still logs after a stop signal, so tee has to survive the signal.
        " 2>&1 | (trap '' TERM USR1; tee {log:q})"
