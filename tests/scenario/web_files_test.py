#!/usr/bin/env python3
"""The page in Chromium: QR codes, import and export.

    python3 tests/scenario/web_files_test.py

Needs chromium and chromedriver; without them it says so and is skipped. The network is the loopback only.
"""
import pathlib
import sys
import tempfile
import unittest
import urllib.error

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE / "fixtures"), str(HERE.parents[1] / "tools")]

import page_node  # noqa: E402
from page_case import PageCase  # noqa: E402


@unittest.skipUnless(page_node.BINARY.exists(), f"{page_node.BINARY} is not built")
class Files(PageCase, unittest.TestCase):
    make_node = page_node.BinaryNode

    def test_a_qr_code_is_shown_and_can_be_kept(self):
        code = self.make("qr")["code"]
        self.page.until(lambda: self.page.visible(self.row(code)), "the row")
        self.page.click(self.row(code, ".qr"))
        self.page.until(lambda: self.page.run("const n = document.querySelector('#qr-image');"
                                        "return n.complete && n.naturalWidth > 0"), "the picture")
        self.assertEqual(self.page.run("const n = document.querySelector('#qr-png'), q = new URLSearchParams(n.search);"
                                       "return [n.download, q.get('format'), q.get('size'), q.get('domain')]"),
                         [f"{code}.png", "png", "1000", self.node.url.split("//")[1]])
        self.page.press("escape")
        self.page.until(lambda: not self.page.visible("#qr"), "the dialog closed")

    def test_links_come_from_a_file_and_go_into_one(self):
        self.node = self.enterContext(page_node.BinaryNode())  # its own: so many links bury those of other tests
        self.page.open(self.node.url)
        rows = "".join(f"https://example.com/{number},file-{number},\"two\nlines {number}\"\n" for number in range(9000))
        with tempfile.NamedTemporaryFile("w", suffix=".csv") as file:
            file.write("url,code,title\n" + rows + "no address,file-wrong,x\n")
            file.flush()
            self.page.click("#transfer-open")
            self.page.until(lambda: self.page.visible("#transfer"), "the dialog")
            self.page.click("#import [type=submit]")
            self.assertEqual(self.page.text("#import-file-error"), "Choose a file.")
            self.page.type("#import-file", file.name, clear=False)
            self.page.click("#import [type=submit]")
            self.page.until(lambda: "nothing was written" in self.page.text("#import-status"), "the end of the trial")
            self.assertIn("9,001 rows: 9,000 can be made, 1 with a problem", self.page.text("#import-status"))
            self.assertEqual(self.page.texts("#import-problems tbody th, #import-problems tbody td")[:2], ["18002", "url"])
            with self.assertRaises(urllib.error.HTTPError) as absent:
                self.api("GET", "/v1/links/file-7")
            absent.exception.close()
            self.page.click("#import-dry")
            self.page.click("#import [type=submit]")
            self.page.until(lambda: self.page.text("#import-status").startswith("Imported."), "the end of the import")
        self.assertIn("9,000 made, 1 with a problem", self.page.text("#import-status"))
        self.assertEqual(self.api("GET", "/v1/links/file-8999")["title"], "two lines 8999")
        with tempfile.TemporaryDirectory() as folder:
            self.page.devtools("Browser.setDownloadBehavior", behavior="allow", downloadPath=folder)
            self.page.click('[data-format="csv"]')
            self.page.until(lambda: (pathlib.Path(folder) / "links.csv").exists(), "the file")
            self.assertIn("file-8999", (pathlib.Path(folder) / "links.csv").read_text())
        self.page.press("escape")
        self.page.until(lambda: not self.page.visible("#transfer"), "the dialog closed")
        self.page.open("about:blank")


if __name__ == "__main__":
    unittest.main(verbosity=2)
