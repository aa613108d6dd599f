"""The pipeline on a cluster, started as a user would."""

import subprocess
import sys
from pathlib import Path

import yaml
from private_slurm import free_ports
from tenth import tenth_of

ROOT = Path(__file__).parents[2]


class Pipeline:
    """A config on a cluster: starts `snakemake --profile slurm` as a user would."""

    def __init__(self, slurm, folder, objectives=None, **changes):
        demo = yaml.safe_load((ROOT / "config" / "demo.yaml").read_text())
        self.slurm, self.results, self.config = slurm, folder / "results", folder / "config.yaml"
        content = tenth_of(demo, str(self.results), free_ports(1)[0])
        for recipe in content["recipes"].values():
            recipe.update(changes)
            recipe["report_epochs"] = [recipe["epochs"]]
        if objectives:
            content["runs"] = [content["runs"][0] | {"objectives": objectives}]
        self.config.write_text(yaml.safe_dump(content))
        self.environment = slurm.environment | {
            "PATH": f"{Path(sys.executable).parent}:{slurm.environment['PATH']}"
        }

    def start(self, *arguments, **train):
        """The process, with the true profile, or with one that asks for something else for `train`.

        No conda is here (--sdm): every env is the one of the tests.
        """
        profile = "slurm"
        if train:
            # --set-resources would replace the profile's whole map, not merge with it.
            content = yaml.safe_load((ROOT / "slurm" / "config.yaml").read_text())
            content["set-resources"]["train"] |= train
            profile = self.config.parent / "profile"
            profile.mkdir(exist_ok=True)
            (profile / "config.yaml").write_text(yaml.safe_dump(content))
        command = ["cloob", "world", "serve", "--config", str(self.config), "--"]
        command += ["snakemake", "--profile", str(profile), "--configfile", str(self.config)]
        command += ["--sdm", "env-modules", "--nolock", *map(str, arguments)]
        return subprocess.Popen(
            command,
            cwd=ROOT,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def run(self, *arguments, **train):
        """The finished process's output."""
        process = self.start(*arguments, **train)
        output, _ = process.communicate()
        assert process.returncode == 0, output[-5000:]
        return output
