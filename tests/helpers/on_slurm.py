"""Run the pipeline on a Slurm cluster as a user would."""

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
EVALUATED_EPOCHS = [1, EPOCHS]


class Pipeline:
    """A config and its results; starts `snakemake --profile slurm`.

    One run on one corpus with two test sets: what the other runs and test sets add is not specific to Slurm.
    """

    def __init__(self, slurm, folder):
        demo = yaml.safe_load((ROOT / "config" / "demo.yaml").read_text())
        self.slurm, self.results, self.config = slurm, folder / "results", folder / "config.yaml"
        content = tenth_of(demo, str(self.results), free_ports(1)[0])
        content["recipes"]["cc3m_small"] |= {
            "epochs": EPOCHS,
            "eval_epochs": EVALUATED_EPOCHS,
            "embedding_eval_epochs": [],
        }
        content["runs"] = [row | {"objectives": ["cloob"], "processes": 2} for row in content["runs"][:1]]
        content["evaluate"]["testsets"] = ["gtsrb", "flowers102"]
        self.config.write_text(yaml.safe_dump(content))
        self.environment = slurm.environment | {
            "PATH": f"{Path(sys.executable).parent}:{slurm.environment['PATH']}"
        }
        self.table = self.results / "tables" / "zeroshot.csv"
        self._started = []

    def copy(self, folder):
        """The same pipeline in another folder, with a copy of its results."""
        other = object.__new__(Pipeline)
        other.__dict__ |= self.__dict__ | {"results": folder / "results", "config": folder / "config.yaml"}
        # Running checkpoints are large and not needed by finished outputs.
        ignored = shutil.ignore_patterns("checkpoints")
        shutil.copytree(self.results, other.results, symlinks=True, ignore=ignored)
        other.config.write_text(self.config.read_text().replace(str(self.results), str(other.results)))
        other.table, other._started = other.results / "tables" / "zeroshot.csv", []
        return other

    def delete(self, *paths):
        """Delete files and folders of the results folder."""
        for path in paths:
            if (self.results / path).is_dir():
                shutil.rmtree(self.results / path)
            else:
                (self.results / path).unlink(missing_ok=True)

    def start(self, *arguments, train=None, threads=None):
        """Start Snakemake; `train` overrides resources of the rule train in the profile (None: unset).

        The jobs use the environment of the tests instead of conda (--sdm), and job states are queried earlier
        than on a busy cluster.
        """
        profile = "slurm"
        if train:
            # --set-resources would replace the profile's whole map, not merge with it.
            content = yaml.safe_load((ROOT / "slurm" / "config.yaml").read_text())
            resources = content["set-resources"]["train"] | train
            content["set-resources"]["train"] = {
                key: value for key, value in resources.items() if value is not None
            }
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

    def wait(self, process, status=0):
        """Wait for a process to exit with `status`; returns its output."""
        process.wait()
        output = self._output(self._started.index(process)).read_text()
        assert process.returncode == status, output[-8000:]
        return output

    def run(self, *arguments, status=0, **changes):
        """Run Snakemake to its end; returns its output."""
        return self.wait(self.start(*arguments, **changes), status)

    def record_jobs(self):
        """Record requests and times of all jobs so far; Slurm will also list jobs of other pipelines."""
        columns = ["Comment", "tres-per-node", "tres-per-job", "NumNodes", "NumCPUs"]
        columns += ["TimeLimit", "StartTime", "EndTime"]
        wide = ",".join(f"{column}:200" for column in columns)
        lines = self.slurm.run_command("squeue", "--states=all", "--noheader", "-O", wide).splitlines()
        rows = [[line[200 * column :][:200].strip() for column in range(len(columns))] for line in lines]
        self._jobs = [dict(zip(columns, row, strict=True)) for row in rows]

    def jobs_of(self, name):
        """The recorded jobs of a rule or a group."""
        return [job for job in self._jobs if job["Comment"].startswith(f"rule_{name}")]

    def _output(self, number):
        return self.config.with_name(f"snakemake_{number}.log")

    def stop(self):
        """Kill all processes that were started and are still running: Snakemake and the image server."""
        for process in self._started:
            if process.poll() is None:
                for pid in (*descendants([process.pid]), process.pid):
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                process.wait()

    def start_training(self):
        """Start Snakemake to train `RUN` again, and stop (SIGSTOP) the training at its first checkpoint.

        Stopping makes the tests independent of the speed of the machine. Returns the Snakemake process.
        """
        self.delete(f"train/{RUN}", f"evaluate/{RUN}", "tables/zeroshot.csv")
        process = self.start(self.table)
        checkpoints = self.results / "train" / RUN / "checkpoints"
        while not list(checkpoints.glob("epoch_*.pt")):
            assert process.poll() is None, self.wait(process, status=None)
            time.sleep(0.1)
        self.signal(signal.SIGSTOP)
        return process

    def training_processes(self):
        """The process IDs of the training of `RUN`."""
        commands = {}
        for process in self.slurm.processes(self.job()[1]):
            with suppress(OSError):  # the process has exited
                commands[process] = Path(f"/proc/{process}/cmdline").read_text().split("\0")
        # srun has the same arguments at later positions.
        training = ["-m", "cloob", "train"]
        processes = [process for process, command in commands.items() if command[1:4] == training]
        assert len(processes) == 2, commands
        return processes

    def signal(self, number):
        """Send a signal to the training processes."""
        for process in self.training_processes():
            os.kill(process, number)

    def job(self):
        """ID and node of the running training job."""
        jobs = self.slurm.run_command("squeue", "-h", "--states=RUNNING", "-o", "%i|%k|%N").splitlines()
        return next(line.split("|")[::2] for line in jobs if "rule_train" in line)

    def events(self, kind):
        """The events of a kind in the log of `RUN`."""
        lines = map(json.loads, (self.results / "train" / RUN / "metrics.jsonl").read_text().splitlines())
        return [line for line in lines if line["event"] == kind]
