"""A headless Chromium, controlled by the DevTools protocol over a pipe: no port and no other package."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--hide-scrollbars",
    "--no-first-run",
    "--disable-dev-shm-usage",
)
# Seconds in which a browser on a busy machine has answered.
ANSWERED = 60.0


def found() -> str | None:
    """The browser's program, or None."""
    return shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def fonts() -> list[str]:
    """Families of the installed fonts."""
    program = shutil.which("fc-list")
    if program is None:
        return []
    listed = subprocess.run([program, ":", "family"], check=True, capture_output=True, text=True).stdout
    return sorted({family for line in listed.splitlines() for family in line.split(",")})


class Page:
    """A page of the browser."""

    def __init__(self, asking: int, answering: int) -> None:
        self._asking, self._answering = asking, answering
        self._rest = b""
        self._count = self._loads = 0
        self._answers: dict[int, dict[str, Any]] = {}
        # Deadline of the current call.
        self._end = 0.0
        # What the page reported: scripts that failed, and what its content policy refused.
        self.problems: list[str] = []
        self._session: str | None = None
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "DOM", "CSS", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Call a method of the protocol. Returns the result."""
        return self._answer(self._ask(method, **parameters), f"{method}: {str(parameters)[:2000]}")

    def _ask(self, method: str, **parameters: Any) -> int:
        self._count += 1
        asked = {"id": self._count, "method": method, "params": parameters}
        if self._session is not None:
            asked["sessionId"] = self._session
        os.write(self._asking, json.dumps(asked).encode() + b"\0")
        return self._count

    def _answer(self, number: int, awaited: str) -> dict[str, Any]:
        self._end = time.monotonic() + ANSWERED
        while number not in self._answers:
            received = self._receive(awaited)
            if "id" in received:
                self._answers[received["id"]] = received
        answer = self._answers.pop(number)
        assert "error" not in answer, answer
        result: dict[str, Any] = answer["result"]
        return result

    def _receive(self, awaited: str) -> dict[str, Any]:
        while b"\0" not in self._rest:
            ready = select.select([self._answering], [], [], max(0.0, self._end - time.monotonic()))[0]
            assert ready, f"no answer in {ANSWERED:g} seconds to {awaited}\n{self.problems}"
            block = os.read(self._answering, 1 << 16)
            assert block, "the browser ended"
            self._rest += block
        line, _, self._rest = self._rest.partition(b"\0")
        message: dict[str, Any] = json.loads(line)
        if message.get("method") == "Runtime.exceptionThrown":
            self.problems.append(str(message["params"]["exceptionDetails"]))
        elif message.get("method") == "Page.loadEventFired":
            self._loads += 1
        elif message.get("method") == "Log.entryAdded" and message["params"]["entry"]["level"] == "error":
            self.problems.append(message["params"]["entry"]["text"])
        return message

    def open(self, address: str) -> None:
        """Show a page, and wait until all of it is there."""
        self._loaded(lambda: self.call("Page.navigate", url=address))

    def follow(self, selector: str) -> None:
        """Click a link, and wait until all of the page behind it is there."""
        self._loaded(lambda: self.click(selector))

    def _loaded(self, act: Callable[[], object]) -> None:
        # The page may be there before the browser has answered that the act is done.
        before = self._loads
        act()
        self._end = time.monotonic() + ANSWERED
        while self._loads == before:
            self._receive("the load of a page")

    def value(self, expression: str) -> Any:
        """The value of a JavaScript expression on the page."""
        asked = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in asked, asked
        return asked["result"].get("value")

    def until(self, expression: str, seconds: float = 30.0) -> Any:
        """The value of an expression of JavaScript once it is true."""
        return self.value(
            f"new Promise((done, fail) => {{ const end = Date.now() + {seconds * 1000:g};"
            f"const look = () => {{ const found = {expression};"
            "if (found) done(found); else if (Date.now() < end) setTimeout(look, 10);"
            f"else fail(new Error({json.dumps(expression + ' stays false: ')} + document.body.innerText)); }};"
            "look(); })"
        )

    def fonts(self, selector: str) -> dict[str, int]:
        """Fonts used to draw an element, and the number of glyphs of each."""
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        assert node, selector
        used = self.call("CSS.getPlatformFontsForNode", nodeId=node)["fonts"]
        return {one["familyName"]: int(one["glyphCount"]) for one in used}

    def resize(self, width: int, height: int = 900, *, touch: bool = False) -> None:
        """Give the page a size in CSS pixels. With touch it is a phone."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=touch)
        self.call("Emulation.setTouchEmulationEnabled", enabled=touch)

    def dark(self, dark: bool = True) -> None:
        """Ask for dark or light colours."""
        features = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.call("Emulation.setEmulatedMedia", features=features)

    def _middle(self, selector: str) -> tuple[float, float]:
        # If the page still scrolled, the element would move away from the click.
        found = json.dumps(selector)
        x, y = self.value(
            f"""new Promise((done, fail) => {{
                let before = "", end = Date.now() + 30000;
                const still = () => {{
                    const found = document.querySelector({found}), box = found.getBoundingClientRect();
                    const x = box.left + box.width / 2, y = box.top + box.height / 2;
                    if (before === x + " " + y) {{
                        const hit = document.elementFromPoint(x, y);
                        if (found.contains(hit)) return done([x, y]);
                        if (Date.now() > end) return fail(new Error(hit?.outerHTML + " is over " + {found}));
                        found.scrollIntoView({{block: "center", behavior: "instant"}});
                    }}
                    before = x + " " + y;
                    requestAnimationFrame(still);
                }};
                still();
            }})"""
        )
        return x, y

    def click(self, selector: str) -> None:
        """Click the middle of an element with the mouse."""
        x, y = self._middle(selector)
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def tap(self, selector: str) -> None:
        """Tap the middle of an element with a finger."""
        x, y = self._middle(selector)
        # Both at once: a finger that is lifted after the answer of a busy browser presses long.
        down = self._ask("Input.dispatchTouchEvent", type="touchStart", touchPoints=[{"x": x, "y": y}])
        up = self._ask("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])
        for number in (down, up):
            self._answer(number, f"a tap on {selector}")

    def press(self, key: str) -> None:
        """Press a key, such as ``a``, ``Enter`` or ``ArrowDown``."""
        codes = {"Enter": 13, "Tab": 9, "Escape": 27, " ": 32, "ArrowUp": 38, "ArrowDown": 40}
        code = codes.get(key) or ord(key.upper()[0])
        text = {"text": "\r" if key == "Enter" else key} if len(key) == 1 or key == "Enter" else {}
        self.call("Input.dispatchKeyEvent", type="keyDown", key=key, windowsVirtualKeyCode=code, **text)
        self.call("Input.dispatchKeyEvent", type="keyUp", key=key, windowsVirtualKeyCode=code)

    def type(self, text: str) -> None:
        """Type a text into the element that has the focus."""
        self.call("Input.insertText", text=text)

    def pdf(self, path: Path) -> None:
        """Print the page to a PDF."""
        path.write_bytes(base64.b64decode(self.call("Page.printToPDF", printBackground=True)["data"]))

    def picture(self, path: Path, *, whole: bool = False) -> None:
        """Write the visible part, or the whole page, as a PNG."""
        clip: dict[str, Any] = {}
        if whole:
            size = self.call("Page.getLayoutMetrics")["cssContentSize"]
            clip = {"clip": {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}}
        shot = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True, **clip)
        path.write_bytes(base64.b64decode(shot["data"]))


@contextlib.contextmanager
def browse(folder: Path) -> Iterator[Page]:
    """A page of a browser of its own, whose profile is in a folder."""
    program = found()
    assert program, "no chromium: apt-get install chromium"
    child_reads, asking = os.pipe()
    answering, child_writes = os.pipe()
    # The browser reads its file 3 and writes its file 4.
    command = [program, *FLAGS, "--remote-debugging-pipe", f"--user-data-dir={folder}", "about:blank"]
    script = f'exec "$@" 3<&{child_reads} 4>&{child_writes}'
    process = subprocess.Popen(
        ["bash", "-c", script, "bash", *command], pass_fds=(child_reads, child_writes), stderr=subprocess.DEVNULL
    )
    os.close(child_reads)
    os.close(child_writes)
    try:
        yield Page(asking, answering)
    finally:
        process.terminate()
        process.wait(60)
        os.close(asking)
        os.close(answering)
