"""A private Slurm: its own munge, controller and nodes on this machine, everything under one folder."""

import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PROGRAMS = ("sbatch", "srun", "squeue", "scancel", "scontrol", "sinfo")
# Nodes may claim more than the machine has (config_overrides): so the profile's own requests fit.
NODE = "CPUs=64 RealMemory=600000 Gres=gpu:fake:4 State=UNKNOWN"


class PrivateSlurm:
    """The running cluster: `environment` makes its programs the ones on PATH."""

    def __init__(self, folder: Path, nodes: int) -> None:
        folder = folder.resolve()  # as the kernel names its files
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

    def kill_daemon(self, node: str) -> None:
        """The daemon of a node dies; what runs on the node goes on."""
        daemon = self._daemons.pop(node)
        daemon.kill()
        daemon.wait()

    def processes(self, node: str) -> list[int]:
        """All processes of the jobs on a node."""
        return descendants(self._steps(node))

    def cut_power(self, node: str) -> None:
        """A node that dies: its daemon, the steps of its jobs, and all that they started, at once."""
        steps, started = self._steps(node), self.processes(node)
        self.kill_daemon(node)
        for process in [*steps, *started]:  # the steps first: nobody is left to tell the controller
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)

    def wait_for_node(self, node: str, *states: str) -> None:
        """Wait until the controller holds a node for one of these states (`down`, `idle`, `mixed` ...)."""
        self._until(
            lambda: self.ask("sinfo", "-h", "-n", node, "-o", "%T").strip().rstrip("*") in states,
            f"{node} does not become {' or '.join(states)}",
            seconds=180,
        )

    def wait_for_no_job(self) -> None:
        """Wait until no job runs or waits."""
        self._until(lambda: not self.ask("squeue", "-h").strip(), "jobs do not end", seconds=60)

    def ask(self, *command: str) -> str:
        """The output of one of Slurm's programs."""
        return subprocess.run(
            command, env=self.environment, capture_output=True, text=True, check=True, timeout=60
        ).stdout

    def minutes_of(self, job: str) -> int:
        """The whole minutes that a job has been running for."""
        days, _, clock = self.ask("squeue", "-h", "-j", job, "-o", "%M").strip().rpartition("-")
        assert not days
        return sum(int(part) * 60**place for place, part in enumerate(reversed(clock.split(":")))) // 60

    def stop(self) -> None:
        """End all jobs and daemons."""
        with suppress(subprocess.SubprocessError, RuntimeError):
            self.ask("scancel", "--full", "--user", str(os.getuid()))
            self.wait_for_no_job()
        for daemon in reversed(self._daemons.values()):
            daemon.send_signal(signal.SIGTERM)
        for daemon in self._daemons.values():
            try:
                daemon.wait(10)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()

    def _steps(self, node: str) -> list[int]:
        """The processes that have the log of the node's daemon open: slurmstepd's, one of each step."""
        log = self.folder / "log" / f"slurmd.{node}.log"
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):  # it ended meanwhile
                if process.joinpath("exe").readlink().name.startswith("slurmstepd") and any(
                    file.readlink() == log for file in process.joinpath("fd").iterdir()
                ):
                    found.append(int(process.name))
        return found

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
            "SlurmdTimeout=15",
            "KillWait=10",
            "MinJobAge=3600",
            "JobRequeue=1",
            "PreemptType=preempt/partition_prio",
            "PreemptMode=REQUEUE",
            "SchedulerParameters=batch_sched_delay=0,sched_min_interval=0,sched_interval=1,bf_interval=1",
        ]
        lines += [
            f"NodeName={node} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} {NODE}"
            for node, port in zip(self.nodes, ports[1:], strict=True)
        ]
        # A job that another partition's takes the place of is warned and has half a minute.
        lines += [
            "PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP PriorityTier=1 GraceTime=30",
            "PartitionName=urgent Nodes=ALL MaxTime=INFINITE State=UP PriorityTier=2",
        ]
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


def descendants(of: list[int]) -> list[int]:
    """All processes that these started, and those that they started."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            # The name, in parentheses, may hold anything; after it come the state and the parent.
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(stat.parent.name))
    found, parents = [], list(of)
    while parents:
        of_this = children.get(parents.pop(), [])
        found += of_this
        parents += of_this
    return found


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
