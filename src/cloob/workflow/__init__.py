"""What the Snakefile and its rules compute from the config: pure functions without an import of Snakemake."""
