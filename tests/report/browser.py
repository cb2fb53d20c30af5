"""A headless Chromium that is asked over a pipe, by the DevTools protocol; needs no package."""

import base64
import json
import os
import select
import shutil
import subprocess
import time
from contextlib import contextmanager

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
# of a page that has loaded, what is said when nothing more is drawn
SETTLED = "new Promise(done => requestAnimationFrame(() => setTimeout(() => done(true), 500)))"


def find():
    """The browser's path; None where there is none."""
    return next((path for path in map(shutil.which, NAMES) if path), None)


class Page:
    """A page of a browser, and what it has complained about and asked for since it was opened.

    Attributes:
        complaints: errors and warnings of the console, and exceptions.
        requests: addresses of everything that was loaded.
    """

    def __init__(self, commands, answers):
        self._commands, self._answers = commands, answers
        self._number, self._buffer, self._session = 0, b"", None
        self.complaints, self.requests = [], []
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        attached = self.ask("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.ask(f"{domain}.enable")

    def ask(self, method, **params):
        """Sends a command and waits for its result; what happens meanwhile is noted."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._commands, json.dumps(message).encode() + b"\0")
        while True:
            found = self._next()
            if found.get("id") == self._number:
                if "error" in found:
                    raise RuntimeError(f"{method}: {found['error']}")
                return found["result"]
            self._note(found)

    def _next(self, timeout=60):
        end = time.monotonic() + timeout
        while b"\0" not in self._buffer:
            if not select.select([self._answers], [], [], max(0, end - time.monotonic()))[0]:
                raise TimeoutError("the browser does not answer")
            read = os.read(self._answers, 1 << 16)
            if not read:
                raise RuntimeError("the browser has ended")
            self._buffer += read
        message, self._buffer = self._buffer.split(b"\0", 1)
        return json.loads(message)

    def _note(self, event):
        params = event.get("params", {})
        match event.get("method"):
            case "Runtime.consoleAPICalled" if params["type"] in ("error", "warning", "assert"):
                self.complaints.append([part.get("value") for part in params["args"]])
            case "Runtime.exceptionThrown":
                self.complaints.append(params["exceptionDetails"])
            case "Log.entryAdded" if params["entry"]["level"] in ("error", "warning"):
                self.complaints.append(params["entry"]["text"])
            case "Network.requestWillBeSent":
                self.requests.append(params["request"]["url"])

    def open(self, path, width, height=900, scripts=True):
        """Opens a file at a width, and waits until nothing more is drawn."""
        self.ask("Emulation.setScriptExecutionDisabled", value=not scripts)
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.ask("Emulation.setDeviceMetricsOverride", **size)
        self.complaints, self.requests = [], []
        self.ask("Page.navigate", url=path.as_uri())
        while self.run("document.readyState") != "complete":
            time.sleep(0.05)
        # where no script runs, nothing is drawn later
        if scripts:
            self.run(SETTLED)

    def run(self, script):
        """The value of an expression, awaited."""
        answer = self.ask("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(answer["exceptionDetails"])
        return answer["result"].get("value")

    def picture(self):
        """The whole page as PNG."""
        answer = self.ask("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        return base64.b64decode(answer["data"])

    def paper(self):
        """The page as it is printed, PDF."""
        answer = self.ask("Page.printToPDF", printBackground=True, preferCSSPageSize=True)
        return base64.b64decode(answer["data"])


@contextmanager
def browsing(folder):
    """A page of a fresh browser.

    Args:
        folder: where it keeps its profile.
    """
    for_it, commands = os.pipe()
    answers, from_it = os.pipe()
    # the protocol wants the descriptors 3 and 4
    shell = f'exec 3<&{for_it} 4>&{from_it}; exec "$@"'
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]
    options += ["--disable-background-networking"]
    options += [f"--user-data-dir={folder}", "--remote-debugging-pipe", "--hide-scrollbars"]
    process = subprocess.Popen(
        ["bash", "-c", shell, "bash", find(), *options],
        pass_fds=(for_it, from_it),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(for_it)
    os.close(from_it)
    try:
        yield Page(commands, answers)
    finally:
        process.terminate()
        process.wait(timeout=20)
        os.close(commands)
        os.close(answers)
