"""`cloob cluster …`"""

import argparse
import sys
from pathlib import Path


def add_verbs(verbs: argparse._SubParsersAction) -> None:
    """Add `check`."""
    check = verbs.add_parser(
        "check",
        help="does the cluster profile fit this cluster?",
        description="Compare what the profile asks for with what this cluster has (partitions, limits, "
        "accounts, settings), and say which of the profile's lines to change; exits with 1 where there are "
        "any. Runs no job without --probe-nodes.",
    )
    check.add_argument("--profile", type=Path, default=Path("slurm/config.yaml"), help="file of the profile")
    check.add_argument(
        "--probe-nodes",
        metavar="HOST",
        help="look from a compute node of each partition, too, in a job of seconds: is this folder there, "
        "and is HOST (of the images) reached where something is downloaded",
    )
    check.add_argument(
        "--config", type=Path, default=Path("config/config.yaml"), help="config whose runs are trained"
    )
    check.set_defaults(run=_check)


def _check(options: argparse.Namespace) -> None:
    from cloob.slurm import check
    from cloob.slurm.partitions import partitions, settings
    from cloob.slurm.profile import read_profile

    profile, cluster = read_profile(options.profile), partitions()
    of_all = list(check.limits_misfits(profile, check.associations()))
    if (status := check.status_misfit(profile, settings())) is not None:
        of_all.append(status)
    of_all += check.misspelt(profile, Path("workflow"))
    if (processes := check.processes_misfit(profile, options.config)) is not None:
        of_all.append(processes)
    for line in of_all:
        print(f"change  {line}")
    lines = len(of_all)
    for request in profile.requests:
        found = list(check.misfits(request, cluster))
        if options.probe_nodes and not found:
            found += check.lacks_on_a_node(request, options.probe_nodes)
        lines += len(found)
        for line in found:
            print(f"change  {request.rule}: {line}")
        if not found:
            size = f"{request.nodes} × ({request.cpus} CPUs, {request.gpus} GPUs, {request.memory_mb:,} MB)"
            time = f"{request.minutes:,.0f} minutes" if request.minutes else "no runtime asked for"
            print(f"ok      {request.rule}: {size}, {time}")
        for key in request.unknown:
            print(
                f"note    {request.rule}: {key}: depends on the job, or is more than arithmetic; not checked"
            )
        if (note := check.preemption_note(request, cluster)) is not None:
            print(f"note    {request.rule}: {note}")
    if lines:
        print(f"{lines} lines of {options.profile} do not fit this cluster")
        sys.exit(1)
    print(f"{options.profile} fits this cluster")
