"""Mapping of img2dataset's error messages to outcomes."""

import pytest

from cloob.download.fetch.error_codes import is_transient, outcome_of


@pytest.mark.parametrize(
    ("message", "outcome"),
    [
        ("HTTP Error 404: Not Found", "http_404"),
        ("HTTP Error 503: Service Unavailable", "http_503"),
        (
            "HTTP Error 302: … a redirect error that would lead to an infinite loop.\nFound",
            "redirect_loop",
        ),
        ("<urlopen error timed out>", "timeout"),
        ("The read operation timed out", "timeout"),
        ("<urlopen error [Errno -2] Name or service not known>", "dns"),
        ("<urlopen error [Errno -3] Temporary failure in name resolution>", "dns"),
        ("<urlopen error [Errno 111] Connection refused>", "connection_refused"),
        ("[Errno 104] Connection reset by peer", "connection_lost"),
        ("IncompleteRead(512 bytes read, 1024 more expected)", "connection_lost"),
        ("<urlopen error [SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed>", "tls"),
        ("Use of image disallowed by X-Robots-Tag directive", "opted_out"),
        ("undecoded image: kept", "other_download_error"),  # only decoders say so
        ("something new", "other_download_error"),
        (None, "other_download_error"),
    ],
)
def test_failed_downloads_map_to_outcomes(message: str | None, outcome: str) -> None:
    assert outcome_of("failed_to_download", message) == outcome


@pytest.mark.parametrize(
    ("message", "outcome"),
    [
        ("undecoded image: truncated_image", "truncated_image"),
        ("Image decoding error", "not_an_image"),
        (
            "OpenCV(4.11.0) …: error: (-215:Assertion failed) !buf.empty() in function 'imdecode_'\n",
            "empty_file",
        ),
        ("image too small", "too_small"),
        ("aspect ratio too large", "aspect_ratio"),
        ("something new", "other_image_error"),
    ],
)
def test_unusable_images_map_to_outcomes(message: str, outcome: str) -> None:
    assert outcome_of("failed_to_resize", message) == outcome


@pytest.mark.parametrize(
    "message",
    [
        "<urlopen error [Errno 24] Too many open files>",
        "<urlopen error [Errno 99] Cannot assign requested address>",
        "<urlopen error [Errno 100] Network is down>",
        "<urlopen error [Errno 103] Software caused connection abort>",
        "<urlopen error [Errno 105] No buffer space available>",
        "<urlopen error [Errno 112] Host is down>",
    ],
)
def test_failures_of_this_machine_are_transient(message: str) -> None:
    assert is_transient(outcome_of("failed_to_download", message))


def test_success_maps_to_kept() -> None:
    assert outcome_of("success", None) == "kept"
