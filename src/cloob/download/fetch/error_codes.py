"""img2dataset's messages in a short vocabulary that stays the same from run to run.

img2dataset notes the text of whatever went wrong; some of it names hosts or addresses in memory.
"""

import re
from functools import lru_cache

from cloob.common.accounting import KEPT

_OUTCOMES = [
    (re.compile(pattern, re.IGNORECASE), outcome)
    for pattern, outcome in (
        (r"forbidden address", "forbidden_address"),
        (r"response too slow", "too_slow"),
        (r"response of more than", "too_many_bytes"),
        (r"image of \d+ x \d+ pixels", "too_many_pixels"),
        (r"timed out", "timeout"),
        (r"name or service not known|name resolution|no address associated|nodename nor servname", "dns"),
        (r"label too long|label empty or too long|codec can't encode", "bad_link"),
        (r"connection refused", "refused_connection"),
        (
            r"connection (reset|abort)|remote end closed|incompleteread|broken pipe|badstatusline",
            "connection_lost",
        ),
        (r"eof occurred in violation|unexpected_eof", "connection_lost"),
        (r"no route to host|network is (unreachable|down)|host is down", "unreachable"),
        (r"cannot assign requested|too many open files|no buffer space|cannot allocate", "out_of_resources"),
        (r"ssl|certificate", "tls"),
        (r"unknown url type|can't contain control|nonnumeric port|no host given|invalid url", "bad_link"),
        (r"x-robots-tag", "opted_out"),
        (r"image too small", "too_small"),
        (r"image area too large", "too_large"),
        (r"aspect ratio", "aspect_ratio"),
        (r"!buf\.empty", "empty_file"),
        (r"image decoding error|opencv", "not_an_image"),
    )
]
_UNDECODED = re.compile(r"undecoded image: (\w+)")  # of `cloob.images.decoding`, by img2dataset_job
_HTTP = re.compile(r"HTTP Error (\d{3}):")
_LOOP = "redirect error that would lead to an infinite loop"
# Of an answer with status 200: the guard lets no other success pass.
_ANSWERED = {"opted_out", "too_many_bytes", "too_many_pixels"}
# What may be otherwise an hour later: the host, its name, the network, an overload, of ours too.
_TRANSIENT = {
    "timeout",
    "too_slow",
    "dns",
    "refused_connection",
    "connection_lost",
    "unreachable",
    "out_of_resources",
    "http_408",
    "http_425",
    "http_429",
}
_NEVER = {"http_501", "http_505"}


@lru_cache(maxsize=10_000)
def outcome_of(status: str, message: str | None) -> str:
    """The outcome of a link from img2dataset's columns `status` and `error_message`."""
    if status == "success":
        return KEPT
    message = message or ""
    # First what urllib says of an answer: the words behind the number are the server's own.
    if http := _HTTP.match(message):
        return "redirect_loop" if _LOOP in message else f"http_{http[1]}"
    if undecoded := _UNDECODED.match(message):
        return undecoded[1]
    for pattern, outcome in _OUTCOMES:
        if pattern.search(message):
            return outcome
    return "other_image_error" if status == "failed_to_resize" else "other_download_error"


@lru_cache(maxsize=10_000)
def http_status_of(status: str, message: str | None) -> int | None:
    """The HTTP status that the server answered with, as far as it is known; None where none came."""
    if http := _HTTP.match(message or ""):
        return int(http[1])
    if status != "failed_to_download" or outcome_of(status, message) in _ANSWERED:
        return 200
    return None


def is_transient(outcome: str) -> bool:
    """Whether a later round may end otherwise: all else is the server's last word, or ours."""
    return outcome in _TRANSIENT or (outcome.startswith("http_5") and outcome not in _NEVER)
