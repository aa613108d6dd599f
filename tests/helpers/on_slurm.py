"""The pipeline on a cluster, started as a user would."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import yaml

from tests.helpers.private_slurm import descendants, free_ports
from tests.helpers.repository import ROOT
from tests.helpers.tenth_of_demo import tenth_of

RUN = "cc3m-cloob-RN_small-cc3m_small-seed1"
EPOCHS = 4


class Pipeline:
    """A config on a cluster: starts `snakemake --profile slurm` as a user would."""

    def __init__(self, slurm, folder):
        demo = yaml.safe_load((ROOT / "config" / "demo.yaml").read_text())
        self.slurm, self.results, self.config = slurm, folder / "results", folder / "config.yaml"
        content = tenth_of(demo, str(self.results), free_ports(1)[0])
        content["recipes"]["cc3m_small"] |= {"epochs": EPOCHS, "eval_epochs": [EPOCHS]}
        content["recipes"]["yfcc15m_small"] |= {"epochs": 2, "eval_epochs": [1, 2]}
        content["runs"] = [row | {"objectives": ["cloob"]} for row in content["runs"]]
        self.config.write_text(yaml.safe_dump(content))
        self.environment = slurm.environment | {
            "PATH": f"{Path(sys.executable).parent}:{slurm.environment['PATH']}"
        }
        self.table = self.results / "tables" / "zeroshot.csv"
        self._started = []

    def copy(self, folder):
        """The same pipeline in another folder, with all that it has made."""
        other = object.__new__(Pipeline)
        other.__dict__ |= self.__dict__ | {"results": folder / "results", "config": folder / "config.yaml"}
        # Running checkpoints are large, and nothing that is made again reads those.
        ignored = shutil.ignore_patterns("checkpoints")
        shutil.copytree(self.results, other.results, symlinks=True, ignore=ignored)
        other.config.write_text(self.config.read_text().replace(str(self.results), str(other.results)))
        other.table, other._started = other.results / "tables" / "zeroshot.csv", []
        return other

    def forget(self, *paths):
        """Delete what lies under these paths of the results folder."""
        for path in paths:
            if (self.results / path).is_dir():
                shutil.rmtree(self.results / path)
            else:
                (self.results / path).unlink(missing_ok=True)

    def start(self, *arguments, train=None, threads=None):
        """The process, with the true profile, or with one that asks for other things (not: None) for train.

        No conda is here (--sdm): every env is the one of the tests. How jobs do is asked for sooner than on a
        cluster of many users.
        """
        profile = "slurm"
        if train:
            # --set-resources would replace the profile's whole map, not merge with it.
            content = yaml.safe_load((ROOT / "slurm" / "config.yaml").read_text())
            asked = content["set-resources"]["train"] | train
            content["set-resources"]["train"] = {key: one for key, one in asked.items() if one is not None}
            content["set-threads"]["train"] = threads
            profile = self.config.parent / "profile"
            profile.mkdir(exist_ok=True)
            (profile / "config.yaml").write_text(yaml.safe_dump(content))
        command = ["cloob", "toy-data", "serve", "--config", str(self.config), "--"]
        command += ["snakemake", "--profile", str(profile), "--configfile", str(self.config)]
        command += ["--sdm", "env-modules", "--slurm-init-seconds-before-status-checks", "1"]
        with self._output(len(self._started)).open("w") as output:
            process = subprocess.Popen(
                [*command, *map(str, arguments)],
                cwd=ROOT,
                env=self.environment,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self._started.append(process)
        return process

    def end_of(self, process, status=0):
        """The output of a process, once it has ended with this status."""
        process.wait()
        output = self._output(self._started.index(process)).read_text()
        assert process.returncode == status, output[-8000:]
        return output

    def run(self, *arguments, status=0, **changes):
        """The finished process's output."""
        return self.end_of(self.start(*arguments, **changes), status)

    def note_jobs(self):
        """Note what each job so far asked for, and when it ran: Slurm knows those of later pipelines too."""
        columns = ["Comment", "tres-per-node", "tres-per-job", "NumNodes", "NumCPUs"]
        columns += ["TimeLimit", "StartTime", "EndTime"]
        wide = ",".join(f"{column}:200" for column in columns)
        lines = self.slurm.ask("squeue", "--states=all", "--noheader", "-O", wide).splitlines()
        rows = [[line[200 * place :][:200].strip() for place in range(len(columns))] for line in lines]
        self._jobs = [dict(zip(columns, row, strict=True)) for row in rows]

    def jobs_of(self, name):
        """The noted jobs of a rule or a group."""
        return [job for job in self._jobs if job["Comment"].startswith(f"rule_{name}")]

    def _output(self, number):
        return self.config.with_name(f"snakemake_{number}.log")

    def stop(self):
        """Kill what still runs of the processes that were started: snakemake, and the server around it."""
        for process in self._started:
            if process.poll() is None:
                for one in (*descendants([process.pid]), process.pid):
                    with suppress(ProcessLookupError):
                        os.kill(one, signal.SIGKILL)
                process.wait()

    def training(self):
        """Snakemake, once `RUN`, which it trains anew for its table, has left a checkpoint.

        The run's processes are held then, so that what is done to them comes in time on any machine.
        """
        self.forget(f"train/{RUN}", f"evaluate/{RUN}", "tables/zeroshot.csv")
        process = self.start(self.table)
        checkpoints = self.results / "train" / RUN / "checkpoints"
        while not list(checkpoints.glob("epoch_*.pt")):
            assert process.poll() is None, self.end_of(process, status=None)
            time.sleep(0.1)
        self.signal(signal.SIGSTOP)
        return process

    def trainers(self):
        """The processes that train `RUN`."""
        commands = {}
        for process in self.slurm.processes(self.job()[1]):
            with suppress(OSError):  # it ended meanwhile
                commands[process] = Path(f"/proc/{process}/cmdline").read_text().split("\0")
        # Not srun, which has the same words behind its own.
        training = ["-m", "cloob", "train"]
        found = [process for process, words in commands.items() if words[1:5] == training]
        assert len(found) == 2, commands
        return found

    def signal(self, number):
        """Send the run's processes a signal."""
        for process in self.trainers():
            os.kill(process, number)

    def job(self):
        """The number of the training job that runs, and its node."""
        jobs = self.slurm.ask("squeue", "-h", "--states=RUNNING", "-o", "%i|%k|%N").splitlines()
        return next(line.split("|")[::2] for line in jobs if "rule_train" in line)

    def events(self, kind):
        """The events of a kind in the log of the finished `RUN`."""
        lines = map(json.loads, (self.results / "train" / RUN / "metrics.jsonl").read_text().splitlines())
        return [line for line in lines if line["event"] == kind]
