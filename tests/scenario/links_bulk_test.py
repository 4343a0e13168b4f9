#!/usr/bin/env python3
"""Many links at once against the real program: batches, imports and exports, over HTTP and from the shell.

    python3 tests/scenario/links_bulk_test.py

The real URLs are urls.txt.xz in the folder that TRELLIS_DATA names, or in ../shared/data beside the source tree; without them
their test is skipped.
"""
import csv
import io
import json
import lzma
import os
import pathlib
import subprocess
import sys
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import node as nodes  # noqa: E402
from links_node import LinksNode  # noqa: E402

DATA = pathlib.Path(os.environ.get("TRELLIS_DATA", nodes.ROOT.parent / "shared/data")) / "urls.txt.xz"


def links(count):
    return [{"url": f"https://example.com/{number}", "alias": f"n{number}"} for number in range(count)]


@unittest.skipUnless(nodes.BINARY.exists(), f"{nodes.BINARY} is not built")
class Batches(unittest.TestCase):
    def setUp(self):
        self.node = self.enterContext(LinksNode())

    def batch(self, items, headers=None, **more):
        return self.node.api("POST", "/v1/links:batch", {"links": items, **more}, headers)

    def test_ten_thousand_with_one_bad_one_make_none(self):
        items = links(10_000)
        items[9_876]["url"] = "gopher://example.com/"
        status, _, problem = self.batch(items)
        self.assertEqual((status, problem["code"], [each["index"] for each in problem["results"]]), (400, "batch_refused", [9_876]))
        items[9_876]["url"] = "https://example.com/"
        self.node.make("https://example.com/", alias="n5000")
        status, _, problem = self.batch(items)
        self.assertEqual((status, [each["index"] for each in problem["results"]]), (409, [5_000]))
        self.assertEqual([link["code"] for link in self.node.listed()], ["n5000"])

    def test_ten_thousand_are_made_and_survive_a_kill(self):
        items = links(10_000)
        status, _, done = self.batch(items, {"Idempotency-Key": "all"})
        self.assertEqual((status, done["made"], len(done["results"])), (200, 10_000, 10_000))
        self.node.kill()
        self.node.start()
        self.assertEqual(self.batch(items, {"Idempotency-Key": "all"})[2], done)
        for number in (0, 4_999, 9_999):
            self.assertEqual(self.node.follow(f"n{number}"), (302, f"https://example.com/{number}"))
        self.assertEqual(sum(len(page) for page in self.node.pages()), 10_000)

    def test_what_is_no_batch_is_refused(self):
        self.assertEqual(self.batch(links(10_001))[2]["detail"], "A batch has 10,000 links at most.")
        status, _, problem = self.node.api("POST", "/v1/links:batch", b" " * (16 << 20) + b"{}")
        self.assertEqual((status, problem["detail"]), (413, "The body is larger than 16 MiB."))


class Files(unittest.TestCase):
    def file(self, node, text, name="links.csv"):
        path = node.folder / name
        path.write_text(text, encoding="utf-8", newline="")
        return str(path)

    def export(self, node, format_):
        done = node.cli("export", "--format", format_)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        return done.stdout


@unittest.skipUnless(nodes.BINARY.exists(), f"{nodes.BINARY} is not built")
class Commands(Files):
    def setUp(self):
        self.node = self.enterContext(LinksNode())

    def good(self, *words):
        done = self.node.cli(*words)
        self.assertEqual((done.returncode, done.stderr), (0, ""), done)
        return done.stdout

    def test_an_import_tells_what_became_of_each_row(self):
        self.node.make("https://example.com/", alias="taken")
        path = self.file(self.node, "url,code,clicks\nhttps://a.example/,aaa,3\nnonsense,bbb,\nhttps://c.example/,taken,\n")
        dry = self.node.cli("import", path, "--dry-run")
        self.assertEqual(dry.returncode, 1)
        self.assertRegex(dry.stdout, "^dry run, nothing written: 3 rows in .* s: 1 made, 0 exist, 0 skipped, 2 failed\n$")
        self.assertEqual(len(self.node.listed()), 1)
        report = self.node.folder / "report.ndjson"
        done = self.node.cli("import", path, "--on-conflict", "skip", "--report", str(report))
        self.assertEqual(done.returncode, 1)
        self.assertRegex(done.stdout, "^3 rows in .* s: 1 made, 0 exist, 1 skipped, 1 failed\n$")
        rows = [json.loads(line) for line in report.read_text().splitlines()]
        self.assertEqual([(row["line"], row["result"]) for row in rows], [(2, "made"), (3, "problem"), (4, "skipped")])
        self.assertEqual(self.node.link("aaa")["clicks"], 3)
        shown = self.node.cli("import", path, "--on-conflict", "skip")
        self.assertRegex(shown.stderr, rf"^{path}:3:1: url: .*\n$")
        total = json.loads(self.node.cli("import", path, "--json").stdout)
        self.assertEqual((total["rows"], total["exists"], total["failed"], total["complete"]), (3, 1, 2, True))

    def test_a_file_can_come_through_a_pipe(self):
        address = "http://%s:%d" % self.node.address()
        done = subprocess.run([self.node.command[0], "links", "import", "-", "--node", address], input=b'{"url":"https://a.example/","code":"a"}\n',
                              capture_output=True, timeout=nodes.PATIENCE)
        self.assertEqual(done.returncode, 0, done)
        self.assertEqual(self.node.link("a")["url"], "https://a.example/")

    def test_files_that_are_not_there_and_nodes_that_are_not_are_told(self):
        self.assertEqual(self.node.cli("import", "absent.csv").returncode, 1)
        self.assertEqual(self.node.cli("import", self.file(self.node, "a,b\n1,2\n")).returncode, 1)
        self.assertEqual(self.node.cli("import", "x", "--on-conflict", "stop").returncode, 2)
        self.assertEqual(self.node.cli("export", "--format", "xml").returncode, 2)
        done = subprocess.run([self.node.command[0], "links", "export", "out.csv", "--node", "http://127.0.0.1:1"], capture_output=True,
                              cwd=self.node.folder, timeout=nodes.PATIENCE)
        self.assertEqual(done.returncode, 1)
        self.assertEqual(list(self.node.folder.glob("out*")), [])

    def test_edit_changes_what_is_said_and_rm_removes(self):
        self.good("add", "https://example.com/", "--alias", "page", "--tag", "a", "--tag", "b", "--max-visits", "5", "--forward-query",
                  "--not-before", "2020-01-01T00:00:00Z")
        link = self.node.link("page")
        self.assertEqual((link["tags"], link["max_visits"], link["forward_query"]), (["a", "b"], 5, True))
        self.good("edit", "page", "--title", "Page", "--no-tags", "--max-visits", "none", "--no-forward-query", "--if-match", link["etag"])
        link = self.node.link("page")
        self.assertEqual((link["title"], link["tags"], link["max_visits"], link["forward_query"]), ("Page", [], None, False))
        self.assertEqual(self.node.cli("edit", "page", "--title", "x", "--if-match", '"0-0"').returncode, 1)
        self.assertEqual(self.node.cli("edit", "page").returncode, 2)
        self.assertIn("http://go.test/page", self.good("add", "https://example.com/", "--title", "Page", "--not-before",
                                                       "2020-01-01T00:00:00Z", "--find-existing"))
        self.assertEqual(self.good("rm", "http://go.test/page"), "removed page\n")
        self.assertEqual(self.node.cli("rm", "page", "other").returncode, 1)
        self.assertEqual(self.node.follow("page")[0], 410)

    def test_an_export_reads_back_and_shlinks_form_is_csv(self):
        self.node.api("POST", "/v1/links:batch", {"links": links(2_500)})
        out = self.node.folder / "out.ndjson"
        self.assertEqual(self.good("export", str(out)), f"2500 links in {out}\n")
        self.assertEqual(len(out.read_text().splitlines()), 2_500)
        rows = list(csv.DictReader(io.StringIO(self.export(self.node, "shlink"))))
        self.assertEqual((len(rows), rows[7]["longUrl"], rows[7]["shortCode"]), (2_500, "https://example.com/7", "n7"))


@unittest.skipUnless(nodes.BINARY.exists(), f"{nodes.BINARY} is not built")
@unittest.skipUnless(DATA.exists(), f"{DATA} is not there; TRELLIS_DATA names the folder with urls.txt.xz")
class RealUrls(Files):
    def test_they_come_in_and_out_and_in_again_the_same(self):
        urls = [url for url in lzma.open(DATA, "rt", encoding="utf-8", newline="\n").read().split("\n") if url and url != "https://"]
        self.assertEqual(len(urls), 48_009)
        text = io.StringIO()
        writer = csv.writer(text)
        writer.writerow(["url", "title", "tags", "clicks", "created_at"])
        for number, url in enumerate(urls):
            writer.writerow([url, f"Title, {number}", "a,b" if number % 3 else "", number % 17, "2024-02-03T04:05:06Z"])
        with LinksNode() as first, LinksNode() as second:
            path = self.file(first, text.getvalue())
            begin = time.monotonic()
            total = self.imported(first, path)
            print(f"{total['rows']} URLs imported in {time.monotonic() - begin:.2f} s", file=sys.stderr)
            self.assertEqual((total["made"], total["failed"]), (48_009, 0))
            exported = {format_: self.export(first, format_) for format_ in ("csv", "ndjson")}
            total = self.imported(second, self.file(second, exported["csv"]))
            self.assertEqual((total["made"], total["failed"]), (48_009, 0))
            for format_, before in exported.items():
                self.assertTrue(self.export(second, format_) == before, f"the {format_} of the second node is another")
            total = self.imported(second, self.file(second, exported["ndjson"], "again.ndjson"))
            self.assertEqual((total["exists"], total["failed"]), (48_009, 0))

    def imported(self, node, path):
        address = "http://%s:%d" % node.address()
        done = subprocess.run([node.command[0], "links", "import", path, "--json", "--node", address], capture_output=True, text=True,
                              timeout=10 * nodes.PATIENCE)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        return json.loads(done.stdout)


if __name__ == "__main__":
    unittest.main(verbosity=2)
