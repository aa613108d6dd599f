"""`cloob cluster …`"""

import argparse
import sys
from pathlib import Path


def add_verbs(verbs: argparse._SubParsersAction) -> None:
    """Add `check`."""
    check = verbs.add_parser(
        "check",
        help="does the cluster profile fit this cluster?",
        description="Compare what the profile asks for with what this cluster has (sinfo), and say which of "
        "the profile's lines to change; exits with 1 where there are any. Runs no job without --look.",
    )
    check.add_argument("--profile", type=Path, default=Path("slurm/config.yaml"), help="file of the profile")
    check.add_argument(
        "--look",
        metavar="HOST",
        help="look from compute nodes, too: is this folder there, does fetch's reach HOST (of the images)",
    )
    check.set_defaults(run=_check)


def _check(options: argparse.Namespace) -> None:
    from cloob.cluster.check import account_misfit, look_from_a_node, misfits
    from cloob.cluster.partitions import partitions
    from cloob.cluster.profile import read_profile

    requests, cluster = read_profile(options.profile), partitions()
    lines = 0
    for request in requests:
        found = list(misfits(request, cluster))
        if (account := account_misfit(request)) is not None:
            found.append(account)
        if options.look and not found and request.rule in ("fetch", "train"):
            found += look_from_a_node(request, options.look)
        lines += len(found)
        for line in found:
            print(f"change  {request.rule}: {line}")
        if not found:
            size = f"{request.nodes} × ({request.cpus} CPUs, {request.gpus} GPUs, {request.memory_mb:,} MB)"
            print(f"ok      {request.rule}: {size}, {request.minutes:,.0f} minutes")
    if lines:
        print(f"{lines} lines of {options.profile} do not fit this cluster")
        sys.exit(1)
    print(f"{options.profile} fits this cluster")
