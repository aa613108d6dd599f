"""Pure functions of the config, which the Snakefile and its rules call; nothing here imports Snakemake."""
