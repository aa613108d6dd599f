"""Copy a figure of the ablation for the README, with data and provenance: `make ablation figures-readme`.

`python docs/figures/update.py results/ablation` writes zeroshot.png, .csv and .json here. A test
redraws the image from the CSV and compares the configuration in the JSON with config/ablation.yaml.
"""

import hashlib
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import yaml
from snakemake.utils import update_config

FOLDER = Path(__file__).parent
ROOT = FOLDER.parents[1]
NAME = "zeroshot"
# The sections of the configuration that determine the results.
KEYS = ("toy_data", "runs", "search", "title_suffix")


def ablation_config() -> dict[str, Any]:
    """The configuration that determines the figure: data, runs, their search and recipe, titles."""
    config: dict[str, Any] = {}
    for name in ("config.yaml", "demo.yaml", "ablation.yaml"):
        update_config(config, yaml.safe_load((ROOT / "config" / name).read_text(encoding="utf-8")))
    titles = {name: corpus["title"] for name, corpus in config["corpora"].items() if corpus}
    recipes = {row["recipe"]: config["recipes"][row["recipe"]] for row in config["runs"]}
    return {key: config[key] for key in KEYS} | {"recipes": recipes, "corpus_titles": titles}


def sha256(content: bytes) -> str:
    """The SHA-256 digest in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def update(results: Path) -> None:
    """Copy the figure and write its provenance, which depends on neither commit nor location."""
    for suffix in (".png", ".csv"):
        shutil.copyfile(results / "figures" / f"{NAME}{suffix}", FOLDER / f"{NAME}{suffix}")
    sources = json.loads((results / "figures" / f"{NAME}.sources.json").read_text(encoding="utf-8"))
    provenance = {
        "made_by": "make ablation figures-readme",
        "files": {
            f"{NAME}{suffix}": sha256((FOLDER / f"{NAME}{suffix}").read_bytes())
            for suffix in (".csv", ".png")
        },
        "inputs": sha256(json.dumps(sources["inputs"], sort_keys=True).encode()),
        "versions": sources["versions"],
        "config": ablation_config(),
    }
    text = json.dumps(provenance, indent=2, ensure_ascii=False)
    (FOLDER / f"{NAME}.json").write_text(f"{text}\n", encoding="utf-8")


if __name__ == "__main__":
    update(Path(sys.argv[1]))
