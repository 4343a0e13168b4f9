#!/usr/bin/env python3
"""How the page gets into the binary.

    python3 tests/scenario/web_embedding_test.py
"""
import pathlib
import sys
import tempfile
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE / "fixtures"), str(HERE.parents[1] / "tools")]

import embed_web  # noqa: E402
import page_node  # noqa: E402


class Embedding(unittest.TestCase):
    """tools/embed_web.py: what it makes of a folder, and what it refuses."""

    def build(self, **files):
        with tempfile.TemporaryDirectory() as folder:
            for name, text in files.items():
                (pathlib.Path(folder) / name.replace("_", ".")).write_text(text)
            return {asset.path.split(".")[0]: asset for asset in embed_web.build(folder)}

    def test_a_changed_module_changes_the_names_of_all_that_import_it(self):
        page = '<script type="module" src="/_trellis/a.js"></script>'
        old = self.build(index_html=page, a_js="import { b } from './b.js';", b_js="export const b = 1;")
        new = self.build(index_html=page, a_js="import { b } from './b.js';", b_js="export const b = 2;")
        for path in ("/_trellis/a", "/_trellis/b"):
            self.assertNotEqual(old[path].path, new[path].path)
        self.assertIn(new["/_trellis/b"].path.encode(), new["/_trellis/a"].body)
        self.assertIn(new["/_trellis/a"].path.encode(), new["/"].body)
        self.assertEqual(new["/"].cache_control, "no-cache")
        self.assertIn("immutable", new["/_trellis/a"].cache_control)

    def test_the_same_folder_gives_the_same_source(self):
        web = page_node.ROOT / "web"
        self.assertEqual(embed_web.source(embed_web.build(web)), embed_web.source(embed_web.build(web)))

    def test_what_the_policy_forbids_is_refused_with_its_place(self):
        for text, reason in (
            ("<p>\n<script>alert(1)</script>", "index.html:2: inline script"),
            ("<style>p {}</style>", "index.html:1: inline style"),
            ('<p style="color: red">', "style attribute"),
            ('<a href="/" onclick="go()">', "event attribute"),
            ('<img src="https://example.com/a.png">', "another host"),
            ('<img src="//example.com/a.png">', "another host"),
            ('<img src="/_trellis/absent.svg">', "absent.svg, which is not in"),
        ):
            with self.subTest(text=text), self.assertRaisesRegex(embed_web.Refused, reason):
                self.build(index_html=text)
        with self.assertRaisesRegex(embed_web.Refused, "imports itself"):
            self.build(index_html="", a_js="import './b.js';", b_js="import './a.js';")


if __name__ == "__main__":
    unittest.main(verbosity=2)
