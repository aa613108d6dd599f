"""The limit on open files of this process."""

import resource


def reserve_open_files(wanted: int) -> int:
    """Raise the soft limit if necessary; return how many of `wanted` files may be kept open.

    At most half of the limit, because libraries, sockets and pipes to child processes need files, too.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = 2 * wanted
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return wanted
    limit = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
    if limit > soft:
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    return min(wanted, max(limit, soft) // 2)
