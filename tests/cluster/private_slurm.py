"""A private Slurm: its own munge, controller and nodes on this machine, everything under one folder."""

import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PROGRAMS = ("sbatch", "srun", "squeue", "scancel", "scontrol", "sinfo")
# Nodes may claim more than the machine has (config_overrides): so the profile's own requests fit.
NODE = "CPUs=64 RealMemory=600000 Gres=gpu:fake:4 State=UNKNOWN"


class PrivateSlurm:
    """The running cluster: `environment` makes its programs the ones on PATH."""

    def __init__(self, folder: Path, nodes: int) -> None:
        self.folder, self.nodes = folder, [f"n{number + 1}" for number in range(nodes)]
        self.environment = os.environ | {
            "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
            "SLURM_CONF": str(folder / "slurm.conf"),
        }
        self._daemons: dict[str, subprocess.Popen[bytes]] = {}

    def start(self) -> None:
        """Start all daemons and wait until all nodes are idle."""
        self._configure()
        munge = self.folder / "munge"
        names = {
            option: f"--{option}={munge / option}"
            for option in ("socket", "pid-file", "log-file", "seed-file")
        }
        self._run(
            "munged",
            "/usr/sbin/munged",
            "--foreground",
            "--force",
            f"--key-file={munge / 'key'}",
            *names.values(),
        )
        self._until((munge / "socket").exists, "munged does not answer")
        self._run("slurmctld", "/usr/sbin/slurmctld", "-D", "-f", str(self.folder / "slurm.conf"))
        for node in self.nodes:
            self.start_node(node)
        self._until(
            lambda: self.ask("sinfo", "-h", "-o", "%T").split() == ["idle"], "the nodes do not become idle"
        )

    def start_node(self, node: str) -> None:
        """Start the daemon of a node."""
        self._run(node, "/usr/sbin/slurmd", "-D", "-f", str(self.folder / "slurm.conf"), "-N", node)

    def kill_node(self, node: str) -> None:
        """A node that dies: its daemon, and the jobs' steps that run there."""
        daemon = self._daemons.pop(node)
        daemon.kill()
        daemon.wait()

    def ask(self, *command: str) -> str:
        """The output of one of Slurm's programs."""
        return subprocess.run(
            command, env=self.environment, capture_output=True, text=True, check=True, timeout=60
        ).stdout

    def stop(self) -> None:
        """End all jobs and daemons."""
        subprocess.run(
            ["scancel", "--full", "--user", "root"], env=self.environment, check=False, capture_output=True
        )
        time.sleep(1)
        for daemon in reversed(self._daemons.values()):
            daemon.send_signal(signal.SIGTERM)
        for daemon in self._daemons.values():
            try:
                daemon.wait(10)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()

    def _run(self, name: str, *command: str) -> None:
        output = (self.folder / "log" / f"{name}.out").open("ab")
        self._daemons[name] = subprocess.Popen(command, stdout=output, stderr=output, env=self.environment)
        output.close()

    def _until(self, condition, message: str, seconds: float = 60) -> None:
        end = time.monotonic() + seconds
        while True:
            try:
                if condition():
                    return
            except subprocess.CalledProcessError:
                pass  # the controller does not listen yet
            if time.monotonic() > end:
                logs = "\n".join(path.read_text()[-2000:] for path in (self.folder / "log").iterdir())
                raise RuntimeError(f"{message}:\n{logs}")
            time.sleep(0.1)

    def _configure(self) -> None:
        folder = self.folder
        for name in ("munge", "state", "spool", "run", "log", "dev", "bin"):
            (folder / name).mkdir(parents=True)
        (folder / "munge").chmod(0o700)
        key = folder / "munge" / "key"
        key.touch(mode=0o600)
        key.write_bytes(secrets.token_bytes(128))
        for number in range(4):
            (folder / "dev" / f"nvidia{number}").symlink_to("/dev/null")
        ports = free_ports(1 + len(self.nodes))
        host = socket.gethostname()
        user = subprocess.run(["id", "-un"], capture_output=True, text=True, check=True).stdout.strip()
        lines = [
            "ClusterName=private",
            f"SlurmctldHost={host}(127.0.0.1)",
            f"SlurmctldPort={ports[0]}",
            f"SlurmUser={user}",
            f"SlurmdUser={user}",
            "AuthType=auth/munge",
            f"AuthInfo=socket={folder}/munge/socket,cred_expire=10",
            "CredType=cred/munge",
            f"StateSaveLocation={folder}/state",
            f"SlurmdSpoolDir={folder}/spool/%n",
            f"SlurmctldPidFile={folder}/run/slurmctld.pid",
            f"SlurmdPidFile={folder}/run/slurmd.%n.pid",
            f"SlurmctldLogFile={folder}/log/slurmctld.log",
            f"SlurmdLogFile={folder}/log/slurmd.%n.log",
            "ProctrackType=proctrack/linuxproc",
            "TaskPlugin=task/none",
            "JobAcctGatherType=jobacct_gather/none",
            "AccountingStorageType=accounting_storage/none",
            "MpiDefault=none",
            "SelectType=select/cons_tres",
            "SelectTypeParameters=CR_Core_Memory",
            "GresTypes=gpu",
            "SlurmdParameters=config_overrides",
            "ReturnToService=2",
            "SlurmdTimeout=10",
            "KillWait=10",
            "MinJobAge=3600",
            "JobRequeue=1",
            "SchedulerParameters=batch_sched_delay=0,sched_min_interval=0,sched_interval=1,bf_interval=1",
        ]
        lines += [
            f"NodeName={node} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} {NODE}"
            for node, port in zip(self.nodes, ports[1:], strict=True)
        ]
        lines.append("PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP")
        (folder / "slurm.conf").write_text("\n".join(lines) + "\n")
        (folder / "gres.conf").write_text(
            f"AutoDetect=off\nName=gpu Type=fake File={folder}/dev/nvidia[0-3]\n"
        )
        (folder / "cgroup.conf").write_text("CgroupPlugin=cgroup/v1\n")
        # Snakemake's job steps lose SLURM_CONF on the way: these programs know it.
        for program in PROGRAMS:
            path = folder / "bin" / program
            path.write_text(f'#!/bin/sh\nSLURM_CONF={folder}/slurm.conf exec {shutil.which(program)} "$@"\n')
            path.chmod(0o755)


def free_ports(number: int) -> list[int]:
    """Ports of this machine that nobody has."""
    sockets = [socket.socket() for _ in range(number)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


@contextmanager
def private_slurm(folder: Path, nodes: int = 2) -> Iterator[PrivateSlurm]:
    """A cluster of so many nodes for the length of the `with` block."""
    cluster = PrivateSlurm(folder, nodes)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()
