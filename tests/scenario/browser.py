"""A headless Chromium driven over the WebDriver protocol, with the standard library alone.

    with Browser(width=1280, height=900) as page:
        page.open(url)
        page.type("#url", "https://example.com/")
        page.click("#shorten")

Elements are named by CSS selector and looked up anew for each step. Waits poll until a condition holds or a deadline
passes; the failure then says what was on the page.
"""
import base64
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
FLAGS = [
    "--headless=new", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--hide-scrollbars",
    "--no-default-browser-check", "--disable-default-apps", "--disable-extensions", "--lang=en-GB",
]
KEYS = {"tab": "\ue004", "enter": "\ue007", "escape": "\ue00c", "space": " ", "down": "\ue015", "shift": "\ue008"}


def missing():
    """Why no browser can be driven here, or an empty string."""
    if not CHROMIUM:
        return "chromium is not installed"
    if not DRIVER:
        return "chromedriver is not installed"
    return ""


class BrowserError(Exception):
    pass


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Browser:
    def __init__(self, width=1280, height=900, dark=False, phone=False, scale=1):
        self.width, self.height, self.dark, self.phone, self.scale = width, height, dark, phone, scale
        self.base = None
        self.session = None

    def __enter__(self):
        self.profile = tempfile.mkdtemp(prefix="trellis-browser-")
        port = free_port()
        self.driver = subprocess.Popen(
            [DRIVER, f"--port={port}", "--allowed-ips=127.0.0.1"], stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
        self.base = f"http://127.0.0.1:{port}"
        try:
            self._begin()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _begin(self):
        deadline = time.monotonic() + 20
        while True:
            try:
                if self._call("GET", "/status")["ready"]:
                    break
            except (OSError, BrowserError):
                pass
            if time.monotonic() > deadline or self.driver.poll() is not None:
                raise BrowserError("chromedriver did not start")
            time.sleep(0.05)
        flags = [*FLAGS, f"--user-data-dir={self.profile}", f"--window-size={self.width},{self.height}"]
        if os.geteuid() == 0:
            flags.append("--no-sandbox")
        if self.scale != 1:
            flags.append(f"--force-device-scale-factor={self.scale}")
        answer = self._call("POST", "/session", {"capabilities": {"alwaysMatch": {
            "goog:chromeOptions": {"binary": CHROMIUM, "args": flags},
            "goog:loggingPrefs": {"browser": "ALL"},
            "timeouts": {"script": 20000, "pageLoad": 30000, "implicit": 0},
        }}})
        self.session = f"/session/{answer['sessionId']}"
        if self.dark:
            self.devtools("Emulation.setEmulatedMedia",
                          features=[{"name": "prefers-color-scheme", "value": "dark"}])
        self.devtools("Emulation.setDeviceMetricsOverride", width=self.width, height=self.height,
                      deviceScaleFactor=self.scale, mobile=self.phone)

    def __exit__(self, *_):
        if self.session:
            try:
                self._call("DELETE", self.session)
            except (OSError, BrowserError):
                pass
        try:
            os.killpg(self.driver.pid, signal.SIGTERM)  # the group that this object has started
            self.driver.wait(10)
        except (ProcessLookupError, subprocess.TimeoutExpired):
            self.driver.kill()
            self.driver.wait()
        shutil.rmtree(self.profile, ignore_errors=True)

    def _call(self, method, path, body=None):
        data = json.dumps(body or {}).encode() if method == "POST" else None
        request = urllib.request.Request(self.base + path, data, {"content-type": "application/json"}, method=method)
        try:
            with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=60) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            value = json.load(error)["value"]
            raise BrowserError(f"{value['error']}: {value['message'].splitlines()[0]}") from None

    def _post(self, path, **body):
        return self._call("POST", self.session + path, body)

    def devtools(self, command, **parameters):
        return self._post("/goog/cdp/execute", cmd=command, params=parameters)

    def open(self, url):
        self._post("/url", url=url)

    def reload(self):
        self._post("/refresh")

    def run(self, script, *arguments):
        """The value of a JavaScript function body; arguments[0..] are the arguments."""
        return self._post("/execute/sync", script=script, args=list(arguments))

    def find(self, selector):
        return self._post("/element", using="css selector", value=selector)[ELEMENT]

    def click(self, selector):
        self._post(f"/element/{self.find(selector)}/click")

    def type(self, selector, text, clear=True):
        element = self.find(selector)
        if clear:
            self._post(f"/element/{element}/clear")
        self._post(f"/element/{element}/value", text=text)

    def press(self, *keys):
        """Presses keys one after the other on whatever has the focus; "shift+tab" holds the first."""
        actions = []
        for key in keys:
            held = [KEYS.get(part, part) for part in key.split("+")] if len(key) > 1 else [key]
            actions += [{"type": "keyDown", "value": value} for value in held]
            actions += [{"type": "keyUp", "value": value} for value in reversed(held)]
        self._post("/actions", actions=[{"type": "key", "id": "keyboard", "actions": actions}])

    def write(self, text):
        """Types into whatever has the focus."""
        self.press(*text)

    def text(self, selector):
        return self.run("const n = document.querySelector(arguments[0]);"
                        "return n ? n.innerText.trim() : null", selector)

    def texts(self, selector):
        return self.run("return [...document.querySelectorAll(arguments[0])].map((n) => n.innerText.trim())", selector)

    def visible(self, selector):
        return self.run("const n = document.querySelector(arguments[0]);"
                        "return Boolean(n && n.checkVisibility() && n.getClientRects().length)", selector)

    def focused(self):
        return self.run("const n = document.activeElement; return n.id || n.className || n.tagName")

    def windows(self):
        return self._call("GET", self.session + "/window/handles")

    def switch(self, window):
        self._post("/window", handle=window)

    def close_window(self):
        self._call("DELETE", self.session + "/window")

    def address(self):
        return self._call("GET", self.session + "/url")

    def console(self):
        """What the page has written to the console since the last call: errors and warnings, no more."""
        return [f"{line['level']}: {line['message']}" for line in self._post("/se/log", type="browser")
                if line["level"] in ("SEVERE", "WARNING")]

    def until(self, condition, what, seconds=30):
        """Waits for condition() to be true and gives back its value."""
        deadline = time.monotonic() + seconds
        while True:
            value = condition()
            if value:
                return value
            if time.monotonic() > deadline:
                shown = self.run("return document.body.innerText").strip()
                raise AssertionError(f"waited {seconds} s for: {what}\nthe page shows:\n{shown[:2000]}")
            time.sleep(0.05)

    def screenshot(self, path, whole=False):
        clip = {}
        if whole:
            height = self.run("return document.documentElement.scrollHeight")
            clip = {"clip": {"x": 0, "y": 0, "width": self.width, "height": height, "scale": 1}}
        data = self.devtools("Page.captureScreenshot", format="png", captureBeyondViewport=whole, **clip)["data"]
        pathlib.Path(path).write_bytes(base64.b64decode(data))
