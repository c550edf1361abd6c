"""A browser without a window, driven over a pipe: `with open_page(path) as page`."""

import base64
import contextlib
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

_NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
_PATIENCE = 60.0
_FLAGS = (
    *(
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--no-first-run",
    ),
    *("--disable-background-networking", "--disable-extensions", "--disable-component-update"),
    *("--host-resolver-rules=MAP * ~NOTFOUND", "--remote-debugging-pipe", "about:blank"),
)

# the browser reads 3 and writes 4; a function before the call would need a fork beside threads
_PLACE = """
import fcntl, os, sys
low, high = (fcntl.fcntl(int(number), fcntl.F_DUPFD, 10) for number in sys.argv[1:3])
os.dup2(low, 3)
os.dup2(high, 4)
os.execv(sys.argv[3], sys.argv[3:])
"""


def require() -> str:
    """The path of the browser; a test without one is skipped."""
    found = next(filter(None, map(shutil.which, _NAMES)), None)
    if found is None:
        pytest.skip("needs Chromium: apt-get install chromium")
    return found


class Page:
    """One page of a browser; messages are JSON that ends in NUL, both ways."""

    def __init__(self, read: int, write: int):
        self._read, self._write, self._last, self._rest = read, write, 0, b""
        self.events: list[dict] = []
        self._session = None
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        told = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = told["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters) -> dict:
        """The result of a method of the DevTools protocol."""
        self._last += 1
        message = {"id": self._last, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        left = json.dumps(message).encode() + b"\0"
        while left:
            left = left[os.write(self._write, left) :]
        until = time.monotonic() + _PATIENCE
        while True:
            told = self._next(until, method)
            if told.get("id") == self._last:
                assert "error" not in told, (method, told["error"])
                return told["result"]
            self.events.append(told)

    def _next(self, until: float, method: str) -> dict:
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._read], [], [], max(0.0, until - time.monotonic()))
            assert ready, f"no answer to {method} in {_PATIENCE:g} s"
            part = os.read(self._read, 2**20)
            assert part, "the browser ended"
            self._rest += part
        told, _, self._rest = self._rest.partition(b"\0")
        return json.loads(told)

    def js(self, expression: str):
        """The value of an expression, a plain one; a promise is awaited."""
        own = {"expression": expression, "awaitPromise": True, "returnByValue": True}
        told = self.call("Runtime.evaluate", **own)
        assert "exceptionDetails" not in told, told["exceptionDetails"]
        return told["result"].get("value")

    def open(self, path: Path) -> None:
        """Opens a file, and waits until its script is through."""
        self.call("Page.navigate", url=path.resolve().as_uri())
        self.until("document.body && document.body.dataset.state")

    def until(self, expression: str) -> None:
        """Waits until an expression is true."""
        end = time.monotonic() + _PATIENCE
        while not self.js(expression):
            assert time.monotonic() < end, expression
            time.sleep(0.02)

    def key(self, name: str) -> None:
        """Presses a key, as a user does."""
        codes = {"Enter": 13, "Tab": 9, "ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39}
        own = {"key": name, "code": name, "windowsVirtualKeyCode": codes.get(name, 40)}
        text = {"text": "\r"} if name == "Enter" else {}
        self.call("Input.dispatchKeyEvent", type="keyDown", **own, **text)
        self.call("Input.dispatchKeyEvent", type="keyUp", **own)

    def complaints(self) -> list[str]:
        """What the page or the browser complained of, such as what a policy refused."""
        found = []
        for event in self.events:
            if event.get("method") == "Runtime.exceptionThrown":
                found.append(event["params"]["exceptionDetails"]["text"])
            if event.get("method") == "Log.entryAdded":
                found.append(event["params"]["entry"]["text"])
        return found

    def requested(self) -> list[str]:
        """The addresses that were asked for."""
        own = [e for e in self.events if e.get("method") == "Network.requestWillBeSent"]
        return [event["params"]["request"]["url"] for event in own]

    def screenshot(self, path: Path) -> None:
        """Writes a PNG of the whole page."""
        told = self.call("Page.captureScreenshot", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(told["data"]))


@contextlib.contextmanager
def browser():
    """A browser with one empty `Page`."""
    program = require()
    (to_read, to_write), (from_read, from_write) = os.pipe(), os.pipe()

    with tempfile.TemporaryDirectory() as profile:
        process = subprocess.Popen(
            [
                *(sys.executable, "-ISc", _PLACE, str(to_read), str(from_write)),
                *(program, f"--user-data-dir={profile}", *_FLAGS),
            ],
            pass_fds=(to_read, from_write),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(to_read)
        os.close(from_write)
        try:
            yield Page(from_read, to_write)
        finally:
            os.close(to_write)
            os.close(from_read)
            process.terminate()
            process.wait(30)
