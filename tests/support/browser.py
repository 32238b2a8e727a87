"""A headless Chromium driven through the DevTools protocol over a pipe: real pages, real keys, real clicks.

Nothing but the standard library: the protocol is JSON objects that end with a zero byte, written to file descriptor 3
of the browser and read from its descriptor 4 (--remote-debugging-pipe).
"""

import base64
import contextlib
import fcntl
import itertools
import json
import os
import select
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
FLAGS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--mute-audio", "--hide-scrollbars",
         "--disable-background-networking", "--disable-component-update", "--disable-sync", "--remote-debugging-pipe",
         "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1")
KEYS = {"Enter": (13, "\r"), "Tab": (9, ""), "Escape": (27, ""), "ArrowDown": (40, ""), "ArrowUp": (38, ""), "ArrowLeft": (37, ""),
        "ArrowRight": (39, ""), " ": (32, " "), "Backspace": (8, "")}
PATIENCE = 30.0  # seconds until a wait fails
SHIFT = 8


def found():
    return next((path for name in NAMES if (path := shutil.which(name))), None)


class Browser:
    """One browser process. `refused`: requests of pages that went to a network (there should be none)."""

    def __init__(self):
        program = found()
        if program is None:
            pytest.skip("no Chromium is installed (Debian: apt-get install chromium)")
        self.home = tempfile.TemporaryDirectory(prefix="laptime-browser-")
        theirs_in, self._out = os.pipe()
        self._in, theirs_out = os.pipe()
        high = [fcntl.fcntl(one, fcntl.F_DUPFD, 20) for one in (theirs_in, theirs_out)]
        placed = f'exec "$@" 3<&{high[0]} 4>&{high[1]}'
        self._process = subprocess.Popen(["bash", "-c", placed, "bash", program, *FLAGS, f"--user-data-dir={self.home.name}", "about:blank"],
                                         pass_fds=high, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                         start_new_session=True)
        for one in (theirs_in, theirs_out, *high):
            os.close(one)
        self._numbers, self._held, self.events = itertools.count(1), b"", []

    def close(self):
        with contextlib.suppress(Exception):
            self.call("Browser.close")
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        os.close(self._in)
        os.close(self._out)
        for _ in range(20):  # its children may still be writing
            with contextlib.suppress(OSError):
                self.home.cleanup()
                break
            time.sleep(0.05)

    def call(self, method, session=None, **parameters):
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": parameters} | ({"sessionId": session} if session else {})
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self._out, data):]
        end = time.monotonic() + PATIENCE
        while True:
            answer = self._next(end)
            if answer.get("id") == number:
                if "error" in answer:
                    raise AssertionError(f"{method}: {answer['error']}")
                return answer["result"]
            self.events.append(answer)

    def drain(self, seconds=0.0):
        """Take in what happened meanwhile."""
        end = time.monotonic() + seconds
        with contextlib.suppress(TimeoutError):
            while True:
                self.events.append(self._next(end))

    def _next(self, end):
        while b"\0" not in self._held:
            left = end - time.monotonic()
            if not select.select([self._in], [], [], max(0.0, left))[0]:
                raise TimeoutError("the browser does not answer")
            more = os.read(self._in, 1 << 20)
            if not more:
                raise AssertionError("the browser has ended")
            self._held += more
        text, _, self._held = self._held.partition(b"\0")
        return json.loads(text)

    def page(self, width=1440, height=900, downloads=None, dark=False):
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        page = Page(self, target, session)
        for domain in ("Page", "Runtime", "Log", "Network"):
            page.call(f"{domain}.enable")
        page.size(width, height)
        page.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}])
        if downloads is not None:
            self.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(downloads))
        return page


class Page:
    """A tab."""

    def __init__(self, browser, target, session):
        self.browser, self.target, self.session = browser, target, session

    def call(self, method, **parameters):
        return self.browser.call(method, self.session, **parameters)

    def close(self):
        self.browser.call("Target.closeTarget", targetId=self.target)

    def size(self, width, height):
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600)

    def goto(self, url, ready="window.Laptime && Laptime.firstPaint"):
        """Load afresh, also where only the part after # differs."""
        self.call("Page.navigate", url="about:blank")
        self.call("Page.navigate", url=url)
        self.until(ready)

    def evaluate(self, code):
        answer = self.call("Runtime.evaluate", expression=code, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise AssertionError(answer["exceptionDetails"].get("exception", {}).get("description") or answer["exceptionDetails"]["text"])
        return answer["result"].get("value")

    def until(self, code, seconds=PATIENCE):
        """The first true value of an expression."""
        end = time.monotonic() + seconds
        while True:
            with contextlib.suppress(AssertionError):
                if value := self.evaluate(f"Promise.resolve({code}).then((found) => found instanceof Node ? true : found)"):
                    return value
            if time.monotonic() > end:
                raise AssertionError(f"still not true: {code}\non: {self.evaluate('document.body.innerText.slice(0, 800)')}")
            time.sleep(0.02)

    def text(self, selector):
        return self.evaluate(f"document.querySelector({json.dumps(selector)})?.innerText ?? null")

    def texts(self, selector):
        return self.evaluate(f"[...document.querySelectorAll({json.dumps(selector)})].map((one) => one.innerText)")

    def click(self, selector, shift=False):
        """Press where the first visible match of a selector is, as a mouse would."""
        place = self.until(f"""(() => {{
            const one = [...document.querySelectorAll({json.dumps(selector)})].find((e) => e.getClientRects().length);
            if (!one) return null;
            one.scrollIntoView({{block: "center", inline: "center"}});
            const box = one.getBoundingClientRect();
            return [box.left + box.width / 2, box.top + box.height / 2]; }})()""")
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=place[0], y=place[1], button="left", clickCount=1, modifiers=SHIFT if shift else 0)

    def choose(self, selector, value):
        """Choose in a list."""
        self.evaluate(f"""(() => {{ const one = document.querySelector({json.dumps(selector)}); one.value = {json.dumps(value)};
            if (one.value !== {json.dumps(value)}) throw new Error("no such choice"); one.dispatchEvent(new Event("change", {{bubbles: true}})); }})()""")

    def key(self, name, shift=False):
        code, text = KEYS.get(name, (ord(name.upper()) if len(name) == 1 else 0, name if len(name) == 1 else ""))
        same = {"key": name, "windowsVirtualKeyCode": code, "modifiers": SHIFT if shift else 0}
        self.call("Input.dispatchKeyEvent", type="keyDown" if text else "rawKeyDown", text=text, **same)
        self.call("Input.dispatchKeyEvent", type="keyUp", **same)

    def write(self, text):
        self.call("Input.insertText", text=text)

    def shot(self, path, whole=False):
        extra = {}
        if whole:
            height = self.evaluate("document.documentElement.scrollHeight")
            width = self.evaluate("document.documentElement.clientWidth")
            extra = {"captureBeyondViewport": True, "clip": {"x": 0, "y": 0, "width": width, "height": min(height, 6000), "scale": 1}}
        data = self.call("Page.captureScreenshot", format="png", **extra)["data"]
        Path(path).write_bytes(base64.b64decode(data))

    def troubles(self):
        """Errors on the console, exceptions, refused loads and dialogs since the browser began."""
        self.browser.drain(0.05)
        mine = [event for event in self.browser.events if event.get("sessionId") == self.session]
        return [json.dumps(event["params"])[:600] for event in mine
                if event["method"] in ("Runtime.exceptionThrown", "Page.javascriptDialogOpening")
                or (event["method"] == "Log.entryAdded" and event["params"]["entry"]["level"] in ("error", "warning"))
                or (event["method"] == "Runtime.consoleAPICalled" and event["params"]["type"] in ("error", "warning", "assert"))]

    def addresses(self):
        """Every address that pages of this tab asked for."""
        self.browser.drain(0.05)
        return [event["params"]["request"]["url"] for event in self.browser.events
                if event.get("sessionId") == self.session and event["method"] == "Network.requestWillBeSent"]
