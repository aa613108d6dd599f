"""A headless Chromium, driven through its DevTools pipe: no driver, no package, no port."""

import base64
import json
import os
import shutil
import subprocess
import time
from pathlib import Path

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
# No network at all: what a page shows must lie in the page.
FLAGS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--mute-audio"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--proxy-server=127.0.0.1:9", "--remote-debugging-pipe", "--hide-scrollbars"),
]


class Browser:
    """One page; `errors` collects what a developer would see in red."""

    def __init__(self, profile: Path) -> None:
        from_us, self._write = os.pipe()
        self._read, from_it = os.pipe()
        # DevTools speaks on the file descriptors 3 and 4.
        command = [*("bash", "-c", f'exec "$@" 3<&{from_us} 4>&{from_it}', "bash", CHROMIUM)]
        command += [*FLAGS, f"--user-data-dir={profile}", "about:blank"]
        self._process = subprocess.Popen(
            command, pass_fds=(from_us, from_it), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        os.close(from_us)
        os.close(from_it)
        self._sent, self._rest, self._session = 0, b"", None
        self.errors: list[str] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def __enter__(self) -> "Browser":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._write)
        os.close(self._read)

    def call(self, method: str, **parameters: object) -> dict:
        """Send one command and give its result; what happens meanwhile is looked at for errors."""
        self._sent += 1
        message = {"id": self._sent, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            self._look(answer)
            if answer.get("id") == self._sent:
                assert "error" not in answer, answer
                return answer["result"]

    def _next(self) -> dict:
        while b"\0" not in self._rest:
            part = os.read(self._read, 1 << 20)
            assert part, "the browser ended"
            self._rest += part
        text, _, self._rest = self._rest.partition(b"\0")
        return json.loads(text)

    def _look(self, answer: dict) -> None:
        method, found = answer.get("method"), answer.get("params", {})
        if method == "Runtime.exceptionThrown":
            self.errors.append(json.dumps(found["exceptionDetails"])[:500])
        elif method == "Runtime.consoleAPICalled" and found["type"] in ("error", "assert"):
            self.errors.append(json.dumps(found["args"])[:500])
        elif method == "Log.entryAdded" and found["entry"]["level"] == "error":
            self.errors.append(json.dumps(found["entry"])[:500])
        elif method == "Network.requestWillBeSent" and found["request"]["url"].startswith("http"):
            self.errors.append(f"asks the network for {found['request']['url']}")

    def open(self, page: Path, width: int, height: int) -> None:
        """Load a page in a window of that many CSS pixels."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 700,
        )
        self.call("Page.navigate", url=page.resolve().as_uri())

    def ask(self, expression: str) -> object:
        """The value of a JavaScript expression."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def wait_for(self, expression: str, seconds: float = 60) -> object:
        """The value of an expression as soon as it holds."""
        end = time.monotonic() + seconds
        while not (value := self.ask(expression)):
            assert time.monotonic() < end, f"never so: {expression}"
            time.sleep(0.1)
        return value

    def click(self, selector: str, text: str = "") -> None:
        """Click the first element that is chosen and has the text."""
        chosen = (
            f"[...document.querySelectorAll({selector!r})].find(each => each.innerText.trim() == {text!r})"
        )
        self.wait_for(f"!!{chosen}")
        self.ask(f"{chosen}.click()")

    def screenshot(self, png: Path) -> None:
        """Write what is seen, for a person to look at."""
        png.write_bytes(base64.b64decode(self.call("Page.captureScreenshot")["data"]))
