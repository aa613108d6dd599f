"""Map img2dataset's error messages to a small, stable set of outcomes.

img2dataset records the text of any exception, which may contain host names or memory addresses.
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
        (r"label too long|label empty or too long|codec can't encode", "invalid_url"),
        (r"connection refused", "connection_refused"),
        (
            r"connection (reset|abort)|remote end closed|incompleteread|broken pipe|badstatusline",
            "connection_lost",
        ),
        (r"eof occurred in violation|unexpected_eof", "connection_lost"),
        (r"no route to host|network is (unreachable|down)|host is down", "unreachable"),
        (r"cannot assign requested|too many open files|no buffer space|cannot allocate", "out_of_resources"),
        (r"ssl|certificate", "tls"),
        (r"unknown url type|can't contain control|nonnumeric port|no host given|invalid url", "invalid_url"),
        (r"x-robots-tag", "opted_out"),
        (r"image too small", "too_small"),
        (r"image area too large", "too_large"),
        (r"aspect ratio", "aspect_ratio"),
        (r"!buf\.empty", "empty_file"),
        (r"image decoding error|opencv", "not_an_image"),
    )
]
_UNDECODED = re.compile(r"undecoded image: (\w+)")  # raised by img2dataset_job
_HTTP_ERROR = re.compile(r"HTTP Error (\d{3}):")
_REDIRECT_LOOP = "redirect error that would lead to an infinite loop"
# Raised after a response with status 200: the guard accepts no other success.
_AFTER_STATUS_200 = {"opted_out", "too_many_bytes", "too_many_pixels"}
# May succeed an hour later: host, DNS, network, or an overload, including one of this machine.
_TRANSIENT = {
    "timeout",
    "too_slow",
    "dns",
    "connection_refused",
    "connection_lost",
    "unreachable",
    "out_of_resources",
    "http_408",
    "http_425",
    "http_429",
}
_PERMANENT_5XX = {"http_501", "http_505"}


@lru_cache(maxsize=10_000)
def outcome_of(status: str, message: str | None) -> str:
    """The outcome of a URL from img2dataset's columns `status` and `error_message`."""
    if status == "success":
        return KEPT
    message = message or ""
    # urllib's HTTP errors first: the text after the number is chosen by the server.
    if http := _HTTP_ERROR.match(message):
        return "redirect_loop" if _REDIRECT_LOOP in message else f"http_{http[1]}"
    if status == "failed_to_resize" and (undecoded := _UNDECODED.match(message)):
        return undecoded[1]
    for pattern, outcome in _OUTCOMES:
        if pattern.search(message):
            return outcome
    return "other_image_error" if status == "failed_to_resize" else "other_download_error"


@lru_cache(maxsize=10_000)
def http_status_of(status: str, message: str | None) -> int | None:
    """The HTTP status of the response; None if there was none, or it is unknown."""
    if http := _HTTP_ERROR.match(message or ""):
        return int(http[1])
    if status != "failed_to_download" or outcome_of(status, message) in _AFTER_STATUS_200:
        return 200
    return None


def is_transient(outcome: str) -> bool:
    """Whether a retry may succeed; all other failures are permanent."""
    return outcome in _TRANSIENT or (outcome.startswith("http_5") and outcome not in _PERMANENT_5XX)
