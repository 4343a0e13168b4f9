#!/usr/bin/env python3
"""QR codes as somebody else's decoder (ZBar) reads them: in both formats, at every level, small and large.

    python3 tests/scenario/links_qr_test.py
"""
import pathlib
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

from browser import Browser  # noqa: E402
from links_node import LinksNode, request  # noqa: E402


def decoded(path):
    """What ZBar reads in a picture."""
    done = subprocess.run(["zbarimg", "--quiet", "--raw", "--set", "*.enable=0", "--set", "qrcode.enable=1", str(path)],
                          capture_output=True, text=True, timeout=60)
    return done.stdout.strip()


class QrCodes(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.node = cls.enterClassContext(LinksNode())
        cls.folder = pathlib.Path(cls.enterClassContext(tempfile.TemporaryDirectory()))

    def fetch(self, code, query, name):
        with self.node.client() as client:
            client.send(request("GET", f"/{code}.qr?{query}"))
            answer = client.answer(b"GET")
        self.assertEqual(answer.status, 200)
        path = self.folder / name
        path.write_bytes(answer.body)
        return path

    def test_pngs_read_as_the_short_url_with_its_mark(self):
        made = self.node.make("https://example.com/")["code"]
        long = self.node.make("https://example.com/", alias="a" * 64)["code"]
        for code in (made, long):
            for query in ("format=png", "format=png&size=120&ecc=L", "format=png&size=1000&ecc=H", "format=png&size=2048&ecc=Q&margin=8"):
                with self.subTest(code=code, query=query):
                    self.assertEqual(decoded(self.fetch(code, query, "code.png")), f"http://go.test/{code}?qr")

    def test_a_code_that_is_known_is_not_sent_again(self):
        code = self.node.make("https://example.com/")["code"]
        with self.node.client() as client:
            client.send(request("GET", f"/{code}.qr"))
            etag = client.answer().get(b"etag").decode()
            # A proxy that compresses makes a tag weak.
            for known, status in ((etag, 304), (f"W/{etag}", 304), (f'"x", {etag}', 304), ("*", 304), ('"x"', 200)):
                with self.subTest(known=known):
                    client.send(request("GET", f"/{code}.qr", headers={"If-None-Match": known}))
                    self.assertEqual(client.answer().status, status)

    def test_svgs_read_the_same_once_a_browser_has_drawn_them(self):
        code = self.node.make("https://example.com/")["code"]
        with Browser(width=600, height=600) as browser:
            for query in ("size=300", "format=svg&size=500&ecc=H"):
                with self.subTest(query=query):
                    browser.open(self.fetch(code, query, "code.svg").as_uri())
                    browser.screenshot(self.folder / "drawn.png")
                    self.assertEqual(decoded(self.folder / "drawn.png"), f"http://go.test/{code}?qr")


if __name__ == "__main__":
    unittest.main()
