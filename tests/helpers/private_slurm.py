"""A private Slurm cluster: munge, controller and node daemons on this machine, all files in one folder."""

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
# More than the machine has (config_overrides), so that the requests of the default profile fit.
NODE = "CPUs=64 RealMemory=600000 Gres=gpu:fake:4 State=UNKNOWN"


class PrivateSlurm:
    """A running cluster; with `environment`, Slurm's programs on PATH use it."""

    def __init__(self, folder: Path, nodes: int) -> None:
        folder = folder.resolve()  # compared with paths in /proc
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
        self._until((munge / "socket").exists, "munged does not respond")
        self._run("slurmctld", "/usr/sbin/slurmctld", "-D", "-f", str(self.folder / "slurm.conf"))
        for node in self.nodes:
            self.start_node(node)
        self._until(
            lambda: self.run_command("sinfo", "-h", "-o", "%T").split() == ["idle"],
            "the nodes do not become idle",
        )

    def start_node(self, node: str) -> None:
        """Start the daemon of a node."""
        self._run(node, "/usr/sbin/slurmd", "-D", "-f", str(self.folder / "slurm.conf"), "-N", node)

    def kill_daemon(self, node: str) -> None:
        """Kill the daemon of a node; jobs on the node continue."""
        daemon = self._daemons.pop(node)
        daemon.kill()
        daemon.wait()

    def processes(self, node: str) -> list[int]:
        """The process IDs of all jobs on a node."""
        return descendants(self._steps(node))

    def kill_node(self, node: str) -> None:
        """Kill the daemon of a node, its job steps, and all of their processes."""
        steps, started = self._steps(node), self.processes(node)
        self.kill_daemon(node)
        for process in [*steps, *started]:  # job steps first, so that they report nothing to the controller
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)

    def wait_for_node(self, node: str, *states: str) -> None:
        """Wait until a node is in one of the given states (`down`, `idle`, `mixed` ...)."""
        self._until(
            lambda: self.run_command("sinfo", "-h", "-n", node, "-o", "%T").strip().rstrip("*") in states,
            f"{node} does not become {' or '.join(states)}",
            seconds=180,
        )

    def wait_for_no_job(self) -> None:
        """Wait until the queue is empty."""
        self._until(lambda: not self.run_command("squeue", "-h").strip(), "jobs do not end", seconds=60)

    def run_command(self, *command: str) -> str:
        """The output of a Slurm program."""
        return subprocess.run(
            command, env=self.environment, capture_output=True, text=True, check=True, timeout=60
        ).stdout

    def elapsed_minutes(self, job: str) -> int:
        """The run time of a job in full minutes."""
        days, _, clock = self.run_command("squeue", "-h", "-j", job, "-o", "%M").strip().rpartition("-")
        assert not days
        return sum(int(part) * 60**power for power, part in enumerate(reversed(clock.split(":")))) // 60

    def stop(self) -> None:
        """Cancel all jobs and stop all daemons."""
        with suppress(subprocess.SubprocessError, RuntimeError):
            self.run_command("scancel", "--full", "--user", str(os.getuid()))
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
        """The slurmstepd processes of a node, identified by the log file that they have open."""
        log = self.folder / "log" / f"slurmd.{node}.log"
        steps = []
        for process in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):  # the process has exited
                if process.joinpath("exe").readlink().name.startswith("slurmstepd") and any(
                    file.readlink() == log for file in process.joinpath("fd").iterdir()
                ):
                    steps.append(int(process.name))
        return steps

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
                pass  # the controller is not ready yet
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
        # Preempted jobs are signaled and have half a minute to exit.
        lines += [
            "PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP PriorityTier=1 GraceTime=30",
            "PartitionName=urgent Nodes=ALL MaxTime=INFINITE State=UP PriorityTier=2",
        ]
        (folder / "slurm.conf").write_text("\n".join(lines) + "\n")
        (folder / "gres.conf").write_text(
            f"AutoDetect=off\nName=gpu Type=fake File={folder}/dev/nvidia[0-3]\n"
        )
        (folder / "cgroup.conf").write_text("CgroupPlugin=cgroup/v1\n")
        # Snakemake's job steps lose SLURM_CONF; these wrappers set it.
        for program in PROGRAMS:
            path = folder / "bin" / program
            path.write_text(f'#!/bin/sh\nSLURM_CONF={folder}/slurm.conf exec {shutil.which(program)} "$@"\n')
            path.chmod(0o755)


def descendants(roots: list[int]) -> list[int]:
    """The process IDs of all direct and indirect children."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            # The name in parentheses may contain any character; state and parent follow it.
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(stat.parent.name))
    result, parents = [], list(roots)
    while parents:
        direct = children.get(parents.pop(), [])
        result += direct
        parents += direct
    return result


def free_ports(count: int) -> list[int]:
    """Unused TCP ports of this machine."""
    sockets = [socket.socket() for _ in range(count)]
    for probe in sockets:
        probe.bind(("127.0.0.1", 0))
    ports = [probe.getsockname()[1] for probe in sockets]
    for probe in sockets:
        probe.close()
    return ports


@contextmanager
def private_slurm(folder: Path, nodes: int = 2) -> Iterator[PrivateSlurm]:
    """A cluster that runs inside the `with` block."""
    cluster = PrivateSlurm(folder, nodes)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()
