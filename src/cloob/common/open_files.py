"""The limit on open files of this process."""

import resource
from weakref import WeakKeyDictionary

_reserved: WeakKeyDictionary[object, int] = WeakKeyDictionary()  # by the object that keeps them open


def reserve_open_files(owner: object, wanted: int) -> int:
    """Raise the soft limit if necessary; return how many of `wanted` files `owner` may keep open.

    At most half of what other owners leave of the limit (but at least one), because libraries, sockets and
    pipes to child processes need files, too.
    """
    _reserved.pop(owner, None)
    others = sum(_reserved.values())
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = others + 2 * wanted
    if soft != resource.RLIM_INFINITY and soft < needed:
        limit = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        if limit > soft:
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
            soft = limit
        wanted = min(wanted, max(1, (soft - others) // 2))
    _reserved[owner] = wanted
    return wanted
