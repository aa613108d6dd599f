"""img2dataset's messages in a vocabulary that stays."""

import pytest

from cloob.download.outcomes import fate_of


@pytest.mark.parametrize(
    ("message", "fate"),
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
        ("<urlopen error [Errno 111] Connection refused>", "refused_connection"),
        ("[Errno 104] Connection reset by peer", "connection_lost"),
        ("IncompleteRead(512 bytes read, 1024 more expected)", "connection_lost"),
        ("<urlopen error [SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed>", "tls"),
        ("Use of image disallowed by X-Robots-Tag directive", "opted_out"),
        ("something new", "other_download_error"),
        (None, "other_download_error"),
    ],
)
def test_failed_downloads(message: str | None, fate: str) -> None:
    assert fate_of("failed_to_download", message) == fate


@pytest.mark.parametrize(
    ("message", "fate"),
    [
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
def test_failed_images(message: str, fate: str) -> None:
    assert fate_of("failed_to_resize", message) == fate


def test_success_is_kept() -> None:
    assert fate_of("success", None) == "kept"
