"""Functions of the config that the Snakefile and its rules call; they do not import Snakemake."""
