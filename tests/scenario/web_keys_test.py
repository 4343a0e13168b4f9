#!/usr/bin/env python3
"""The page in Chromium at a node that asks for API keys.

    python3 tests/scenario/web_keys_test.py

Needs chromium and chromedriver; without them it says so and is skipped. The network is the loopback only.
"""
import pathlib
import sys
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE / "fixtures"), str(HERE.parents[1] / "tools")]

import browser  # noqa: E402
import page_node  # noqa: E402


@unittest.skipUnless(page_node.BINARY.exists(), f"{page_node.BINARY} is not built")
class Keys(unittest.TestCase):
    """The page of a node that asks for API keys."""

    @classmethod
    def setUpClass(cls):
        if browser.missing():
            raise unittest.SkipTest(browser.missing())
        cls.node = cls.enterClassContext(page_node.KeyedNode())
        cls.page = cls.enterClassContext(browser.Browser())

    def sign_in(self, key):
        self.page.until(lambda: self.page.visible("#key-bar"), "the question for a key")
        self.page.type("#key", key)
        self.page.press("enter")

    def test_a_key_is_asked_for_kept_in_the_tab_and_makes_others(self):
        page = self.page
        page.open(self.node.url)
        self.sign_in("trl_00000000000000000000000000000000")
        page.until(lambda: page.text("#key-error") == "This node does not know this key.", "the refusal")
        self.sign_in(self.node.key)
        page.until(lambda: not page.visible("#key-bar"), "the key taken")
        page.until(lambda: page.visible("#empty") and "No links yet" in page.text("#empty"), "the empty list")
        page.reload()
        page.type("#url", "https://example.com/with-a-key")
        page.click("#shorten")
        page.until(lambda: page.visible("#result-short"), "the short link")
        self.assertFalse(page.visible("#key-bar"))
        page.click("#live-all .watch")
        page.until(lambda: page.text("#live-all .note").startswith("Watching"), "the stream")
        page.click("#live-all .watch")

        page.click("#keys-open")
        page.until(lambda: page.visible("#keys-manage"), "the keys")
        self.assertEqual(page.texts("#keys-list b"), ["first"])
        page.type("#key-new-name", "<i>reader</i>")
        page.click("#key-new [type=submit]")
        page.until(lambda: page.visible("#key-made code"), "the new key")
        reader = page.text("#key-made code")
        self.assertEqual(page.texts("#keys-list b"), ["first", "<i>reader</i>"])
        page.click("#keys [data-close]")
        page.until(lambda: not page.visible("#keys"), "the dialog closed")
        # A dialog tells that it was closed a moment after it is.
        page.until(lambda: reader not in page.run("return document.documentElement.outerHTML"), "the key let go")

        page.click("#keys-open")
        page.until(lambda: page.visible("#keys-manage"), "the keys")
        page.click("#key-forget")
        self.sign_in(reader)
        page.until(lambda: not page.visible("#key-bar"), "the key taken")
        page.type("#url", "https://example.com/may-not")
        page.click("#shorten")
        page.until(lambda: page.visible("#key-bar"), "that the key opens too little")
        self.sign_in(self.node.key)
        page.until(lambda: not page.visible("#key-bar"), "the key taken")
        page.click("#keys-open")
        page.until(lambda: page.visible("#keys-manage"), "the keys")
        revoke = "#keys-list li:nth-child(2) button"
        page.click(revoke)
        self.assertEqual(page.text(revoke), "Really revoke?")
        page.click(revoke)
        page.until(lambda: page.texts("#keys-list b") == ["first"], "the key gone")
        page.press("escape")


if __name__ == "__main__":
    unittest.main(verbosity=2)
