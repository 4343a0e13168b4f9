#!/usr/bin/env python3
"""The page in Chromium: statistics, and clicks as they come.

    python3 tests/scenario/web_stats_test.py

Needs chromium and chromedriver; without them it says so and is skipped. The network is the loopback only.
"""
import pathlib
import sys
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE / "fixtures"), str(HERE.parents[1] / "tools")]

import page_node  # noqa: E402
from page_case import PageCase  # noqa: E402


@unittest.skipUnless(page_node.BINARY.exists(), f"{page_node.BINARY} is not built")
class Statistics(PageCase, unittest.TestCase):
    make_node = page_node.BinaryNode

    def test_statistics_tell_when_and_who(self):
        code = self.make("stats", title="<b>Counted</b>")["code"]
        for number in range(3):
            self.follow(code, referer="https://news.example/x")
        self.follow(code, agent="Googlebot/2.1 (+http://www.google.com/bot.html)")
        self.page.until(lambda: self.page.visible(self.row(code)), "the row")
        self.page.click(self.row(code, ".stats"))
        self.page.until(lambda: self.page.texts("#stats .totals dd") == ["3", "1", "1"], "clicks, visitors and bots")
        self.assertEqual(self.page.text("#stats-title"), "Statistics of <b>Counted</b>")
        self.assertEqual(self.page.texts('[data-dimension="referrer"] .label'), ["news.example"])
        self.assertEqual(self.page.texts('[data-dimension="browser"] .label'), ["firefox"])
        self.assertEqual(self.page.run("return document.querySelectorAll('.chart rect').length"), 2)
        self.assertIn("3 clicks of people and 1 of bots",
                      self.page.run("return document.querySelector('#chart-desc').textContent"))
        self.page.click("#stats-table summary")
        self.assertEqual(self.page.texts("#stats-table td"), ["3", "1", "1"])
        self.choose("#stats-range", "3600")
        self.assertEqual(self.page.run("return document.querySelector('#stats-step').value"), "minute")
        self.page.until(lambda: ":" in (self.page.text(".chart figcaption") or ""), "minutes")
        self.choose("#stats-bots", "only")
        self.page.until(lambda: not self.page.visible('[data-dimension="referrer"]'), "the bots")
        self.choose("#stats-range", "own")
        self.assertTrue(self.page.visible("#stats-from"))
        self.assertTrue(self.page.run("return document.querySelector('#stats-step option').disabled"))
        self.page.press("escape")
        self.page.until(lambda: not self.page.visible("#stats"), "the dialog closed")
        self.assertIn("stats", self.page.focused())
        self.page.click("#stats-all")
        self.page.until(lambda: self.page.visible("#stats .totals"), "the figures of all")
        self.assertEqual(self.page.text("#stats-title"), "Statistics of all links")
        self.page.press("escape")

    def test_who_reads_the_table_keeps_the_focus_when_figures_change(self):
        code = self.make("reader")["code"]
        self.follow(code)
        self.see(code)
        self.page.click(self.row(code, ".stats"))
        self.page.until(lambda: (self.page.texts("#stats .totals dd") or [""])[0] == "1", "a click")
        self.page.click("#stats-table summary")
        self.assertEqual(self.page.focused(), "SUMMARY")
        self.follow(code)
        self.page.until(lambda: (self.page.texts("#stats-table td") or [""])[0] == "2", "another click")
        self.assertEqual(self.page.focused(), "SUMMARY")
        self.assertTrue(self.page.run("return document.querySelector('#stats-table').open"))
        self.page.press("escape")

    def test_clicks_are_shown_as_they_come_and_paused(self):
        code = self.make("live")["code"]
        self.page.click("#live-all .watch")
        self.page.until(lambda: self.page.text("#live-all .note").startswith("Watching"), "the stream")
        self.follow(code)
        self.page.until(lambda: code in (self.page.text("#live-all .live-list") or ""), "the click")
        self.assertIn("firefox", self.page.text("#live-all .live-list"))
        for number in range(60):
            self.follow(code)
        self.page.until(lambda: self.page.text("#live-all .live-count").startswith("61 clicks"), "all of them counted")
        self.assertEqual(len(self.page.texts("#live-all li")), 50)
        self.page.click("#live-all .watch")
        self.assertTrue(self.page.text("#live-all .note").startswith("Paused"))


if __name__ == "__main__":
    unittest.main(verbosity=2)
