"""`cloob slurm check`."""

import argparse
import sys
from pathlib import Path
from typing import Any


def add_verbs(verbs: Any) -> None:
    """Add the verb `check`."""
    check = verbs.add_parser(
        "check",
        help="check that the Slurm profile fits this cluster",
        description="Compare the resource requests of the profile with this cluster (partitions, limits, "
        "accounts, settings), and print the lines of the profile to change; exits with 1 if there are any. "
        "Submits no job without --probe-nodes.",
    )
    check.add_argument("--profile", type=Path, default=Path("slurm/config.yaml"), help="the profile")
    check.add_argument(
        "--probe-nodes",
        metavar="HOST",
        help="also run a short job in each partition that checks whether compute nodes see this folder and, "
        "for rules that download, can connect to HOST",
    )
    check.add_argument(
        "--config",
        type=Path,
        nargs="+",
        default=[],
        help="the files that you give to Snakemake's --configfile, on top of config/config.yaml",
    )
    check.set_defaults(run=_check)


def _check(options: argparse.Namespace) -> None:
    from cloob.slurm import check
    from cloob.slurm.partitions import partitions, settings
    from cloob.slurm.profile import read_profile

    largest = check.largest_training(Path("config/config.yaml"), *options.config)
    threads = dict.fromkeys(("train", "trial"), largest.threads) if largest else {}
    profile, cluster = read_profile(options.profile, threads), partitions()
    changes = list(check.check_account_limits(profile, check.associations()))
    if (status := check.check_status_command(profile, settings())) is not None:
        changes.append(status)
    changes += check.unknown_rules(profile, Path("workflow"))
    if largest and (processes := check.check_train_processes(profile, largest)) is not None:
        changes.append(processes)
    for change in changes:
        print(f"change  {change}")
    total = len(changes)
    for request in profile.requests:
        changes = list(check.check_request(request, cluster))
        if options.probe_nodes and not changes:
            changes += check.probe_node(request, options.probe_nodes)
        total += len(changes)
        for change in changes:
            print(f"change  {request.rule}: {change}")
        if not changes:
            size = f"{request.nodes} × ({request.cpus} CPUs, {request.gpus} GPUs, {request.memory_mb:,} MB)"
            time = f"{request.minutes:,.0f} minutes" if request.minutes else "default runtime"
            print(f"ok      {request.rule}: {size}, {time}")
        for key in request.unknown:
            print(
                f"note    {request.rule}: {key}: depends on the job or is a complex expression; not checked"
            )
        if (note := check.preemption_note(request, cluster)) is not None:
            print(f"note    {request.rule}: {note}")
    if total:
        print(f"{total} lines of {options.profile} do not fit this cluster")
        sys.exit(1)
    print(f"{options.profile} fits this cluster")
