# Hyperparameter search: the trials of every objective are ranked on validation pairs; runs use the winners.


# A trial is trained like a run, but its only output is its log, also if the loss diverges.
use rule train as trial with:
    input:
        unpack(defined(lambda wildcards: search.trial_inputs(config, **wildcards))),
    output:
        metrics="<results>/tune/{search}/{objective}/{trial}/metrics.jsonl",
    log:
        "<results>/logs/tune/{search}_{objective}_{trial}.log",
    threads: lambda wildcards: runs.num_cpus(config, search.trial_processes(config, wildcards.search))
    params:
        inputs=lambda wildcards, input: flags(dict(input.items())),
        folder=subpath(output.metrics, parent=True),
        flags=lambda wildcards: ["--trial", *search.trial_flags(config, **wildcards)],
        setup=lambda wildcards, input: runs.setup_flags(config),
        processes=lambda wildcards, input: search.trial_processes(config, wildcards.search),
        workers=lambda wildcards, input: config["train"]["workers"],


# The recipe is an input of the runs that use the search: they start again whenever it is written, and train
# again only if the choice has changed.
rule select:
    input:
        defined(lambda wildcards: search.trial_logs(config, wildcards.search, wildcards.objective)),
    output:
        recipe="<results>/tune/{search}/{objective}.json",
        ranking="<results>/tune/{search}/{objective}_trials.json",
    log:
        "<results>/logs/tune/{search}_{objective}_select.log",
    localrule: True
    conda:
        "../../envs/tables.yaml"
    params:
        flags=lambda wildcards: search.select_flags(config, wildcards.search, wildcards.objective),
    shell:
        "cloob tune select --search={wildcards.search:q} --objective={wildcards.objective:q}"
        " @<(printf '%s\\0' {params.flags:q} ) --recipe={output.recipe:q}"
        " --ranking={output.ranking:q} 2>&1 | tee {log:q}"
