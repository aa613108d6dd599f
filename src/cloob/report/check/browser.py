"""A headless Chromium, controlled through its DevTools pipe: no driver, no package, no port."""

import base64
import json
import os
import select
import shutil
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from cloob.common.errors import InputError

_COMMANDS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
CHROMIUM = next(filter(None, map(shutil.which, _COMMANDS)), None)
REMEDY = "no Chromium found; install it as root with `make browser` or `apt-get install chromium`"
_PHONE = 700  # CSS pixels; narrower windows are those of a phone
_REPLACEMENTS = 50  # of the document of a frame, while it loads
_ANSWER_SECONDS = 60.0  # the longest that a command may take
# Without network: a page has to contain everything that it shows.
FLAGS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--mute-audio"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--proxy-server=127.0.0.1:9", "--remote-debugging-pipe", "--hide-scrollbars"),
]


class DocumentReplacedError(RuntimeError):
    """The page or frame replaced its document before an expression was evaluated in it."""


class Browser:
    """One page. `errors` collects errors of scripts and the console, and requests to the network.

    `profile` is a folder for the browser's files. Raises `InputError` if there is no Chromium, if it exits or
    does not answer, or if a page is not displayed, and `RuntimeError` for other errors that it reports.
    """

    def __init__(self, profile: Path) -> None:
        if CHROMIUM is None:
            raise InputError(REMEDY)
        commands, self._write = os.pipe()
        self._read, responses = os.pipe()
        # DevTools reads from file descriptor 3 and writes to 4.
        command = ["bash", "-c", f'exec "$@" 3<&{commands} 4>&{responses}', "bash", str(CHROMIUM)]
        command += [*FLAGS, f"--user-data-dir={profile}", "about:blank"]
        self._process = subprocess.Popen(
            command, pass_fds=(commands, responses), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        os.close(commands)
        os.close(responses)
        self._last_id, self._buffer = 0, b""
        self._session: str | None = None
        self._page: Path | str = "about:blank"
        self.errors: list[str] = []
        try:
            target = self.call("Target.createTarget", url="about:blank")["targetId"]
            self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
            for domain in ("Page", "Runtime", "Log", "Network"):
                self.call(f"{domain}.enable")
        except BaseException:
            self._close()
            raise

    def __enter__(self) -> "Browser":
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def _close(self) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._write)
        os.close(self._read)

    def call(self, method: str, **parameters: object) -> dict[str, Any]:
        """Send one command and return its result; events that arrive before it are searched for errors."""
        self._last_id += 1
        message: dict[str, Any] = {"id": self._last_id, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        deadline = time.monotonic() + _ANSWER_SECONDS
        try:
            os.write(self._write, json.dumps(message).encode() + b"\0")
        except BrokenPipeError:
            raise _failure("it exited") from None
        while True:
            received = self._receive(deadline)
            self._record_errors(received)
            if received.get("id") == self._last_id:
                if "error" in received:
                    if "Cannot find context" in str(received["error"]):
                        raise DocumentReplacedError(method)
                    raise RuntimeError(f"{method}: {received['error']}")
                return dict(received["result"])

    def _receive(self, deadline: float) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            seconds = deadline - time.monotonic()
            if seconds <= 0 or not select.select([self._read], [], [], seconds)[0]:
                raise _failure(f"no answer for {_ANSWER_SECONDS:g} s")
            chunk = os.read(self._read, 1 << 20)
            if not chunk:
                raise _failure("it exited")
            self._buffer += chunk
        text, _, self._buffer = self._buffer.partition(b"\0")
        return dict(json.loads(text))

    def _record_errors(self, message: dict[str, Any]) -> None:
        method, event = message.get("method"), message.get("params", {})
        if method == "Runtime.exceptionThrown":
            self.errors.append(json.dumps(event["exceptionDetails"])[:500])
        elif method == "Runtime.consoleAPICalled" and event["type"] in ("error", "assert"):
            self.errors.append(json.dumps(event["args"])[:500])
        elif method == "Log.entryAdded" and event["entry"]["level"] == "error":
            self.errors.append(json.dumps(event["entry"])[:500])
        elif method == "Network.requestWillBeSent" and event["request"]["url"].startswith("http"):
            self.errors.append(f"requests {event['request']['url']} from the network")

    def open(self, page: Path, width: int, height: int) -> None:
        """Load a page in a window of this size in CSS pixels."""
        self._page = page
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < _PHONE,
        )
        self.call("Page.navigate", url=page.resolve().as_uri())

    def evaluate(self, expression: str, context: int | None = None) -> Any:
        """The value of a JavaScript expression in the page, or in a context of a frame."""
        options: dict[str, Any] = {} if context is None else {"contextId": context}
        result = self.call(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True, **options
        )
        if "exceptionDetails" in result:
            raise RuntimeError(f"{expression}: {result['exceptionDetails']}")
        return result["result"].get("value")

    def frames(self) -> list[str]:
        """The ids of the frames inside the page."""
        children = self.call("Page.getFrameTree")["frameTree"].get("childFrames", [])
        return [child["frame"]["id"] for child in children]

    def evaluate_in_frame(self, frame: str, *expressions: str) -> Any:
        """The value of the last of several expressions, all in the same document of a frame.

        They start again if the frame replaces its document, as it does when it has loaded its page.
        """
        for _ in range(_REPLACEMENTS):
            with suppress(DocumentReplacedError):
                context = self.call("Page.createIsolatedWorld", frameId=frame)["executionContextId"]
                return [self.evaluate(expression, context) for expression in expressions][-1]
            time.sleep(0.1)
        raise self._not_displayed(f"a frame replaced its document {_REPLACEMENTS} times")

    def wait_for(self, expression: str, seconds: float = 60) -> Any:
        """Wait until an expression is truthy, and return its value."""
        deadline = time.monotonic() + seconds
        while not (value := self.evaluate(expression)):
            if time.monotonic() > deadline:
                raise self._not_displayed(f"not true after {seconds:g} s: {expression}")
            time.sleep(0.1)
        return value

    def _not_displayed(self, reason: str) -> InputError:
        return InputError(
            f"{self._page}: not displayed by {CHROMIUM} ({reason}); build it again, or repeat the check when "
            "the machine is less busy"
        )

    def click(self, selector: str, text: str) -> None:
        """Click the first element that matches the selector and has this text."""
        element = (
            f"[...document.querySelectorAll({selector!r})].find(node => node.innerText.trim() == {text!r})"
        )
        self.wait_for(f"!!{element}")
        self.evaluate(f"{element}.click()")

    def screenshot(self, png: Path) -> None:
        """Save a screenshot of the window."""
        png.write_bytes(base64.b64decode(self.call("Page.captureScreenshot")["data"]))


def _failure(problem: str) -> InputError:
    """The error of a browser that does not run, with a command that prints why."""
    command = f"{CHROMIUM} --headless --no-sandbox --disable-gpu --dump-dom about:blank"
    return InputError(f"{CHROMIUM}: {problem}; run `{command}`: if it prints a page, repeat the check")
