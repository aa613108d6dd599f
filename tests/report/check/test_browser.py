"""A Chromium that does not start, exits, or stops answering: one line, soon, and no process left."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from cloob.cli import main
from cloob.common.errors import InputError
from cloob.report.check import browser

# Answers this number of commands.
ANSWER = r"""
for id in $(seq {}); do
    read -r -d '' <&3
    printf '{{"id": %d, "result": {{"targetId": "t", "sessionId": "s", "result": {{}}}}}}\0' $id >&4
done
"""


@pytest.fixture
def chromium(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Put a shell script in the place of Chromium."""

    def install(script: str) -> None:
        path = tmp_path / "chromium"
        path.write_text(f"#!/bin/bash\necho $$ > {tmp_path}/pid\n{script}")
        path.chmod(0o755)
        monkeypatch.setattr(browser, "CHROMIUM", f"{path}")

    return install


@pytest.mark.parametrize(
    ("script", "problem"),
    [
        ("exit 1", "it exited"),
        ("exec sleep 60", "no answer for 0.5 s"),
        (ANSWER.format(6), "it exited"),
        (ANSWER.format(6) + "exec sleep 60", "no answer for 0.5 s"),
        ("while printf '{}\\0' >&4; do sleep 0.01; done", "no answer for 0.5 s"),
    ],
    ids=["exits", "does not answer", "exits later", "stops answering", "sends events only"],
)
def test_a_chromium_that_does_not_run_is_one_line(
    chromium: Callable[[str], None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
    script: str,
    problem: str,
) -> None:
    chromium(script)
    monkeypatch.setattr(browser, "_ANSWER_SECONDS", 0.5)
    (tmp_path / "report.html").write_text("")
    with pytest.raises(SystemExit) as exit_info:
        main(["report", "check", str(tmp_path)])
    assert exit_info.value.code == 2
    [line] = capsys.readouterr().err.splitlines()
    assert f"{tmp_path}/chromium: {problem}; run `{tmp_path}/chromium --headless" in line
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


def test_a_page_that_is_not_displayed_is_named(chromium: Callable[[str], None], tmp_path: Path) -> None:
    chromium(ANSWER.format(9))
    page = tmp_path / "page.html"
    with browser.Browser(tmp_path / "profile") as window:
        window.open(page, 100, 100)
        with pytest.raises(InputError, match=rf"{page}: not displayed by .* \(not true after 0 s: false\); "):
            window.wait_for("false", seconds=0)
