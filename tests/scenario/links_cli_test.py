#!/usr/bin/env python3
"""The command line: links, ctl, check, version, the help of each command, and what each says when it goes wrong.

    python3 tests/scenario/links_cli_test.py

Exit codes are 0, 1 (failed) and 2 (wrong use); what went wrong is on stderr, and stdout then holds nothing.
"""
import json
import os
import pathlib
import re
import select
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import node as nodes  # noqa: E402
from links_node import CONFIG, LinksNode  # noqa: E402
from node import until  # noqa: E402

URL = "https://example.com/"
COMMANDS = ("run", "check", "ctl", "ctl status", "ctl reload", "ctl loglevel", "links", "links add", "links ls", "links show",
            "links edit", "links rm", "links stats", "links tail", "links import", "links export", "cache", "cache ls", "cache purge", "key", "key add", "key ls", "key rm",
            "reference", "version")


def trellis(*words, **environment):
    clean = {name: value for name, value in os.environ.items() if not name.startswith("TRELLIS_")}
    return subprocess.run([str(nodes.BINARY), *words], capture_output=True, text=True, timeout=nodes.PATIENCE,
                          env={**clean, **environment})


class Cli(unittest.TestCase):
    def good(self, done):
        self.assertEqual((done.returncode, done.stderr), (0, ""), done)
        return done.stdout

    def bad(self, done, code=1, says="."):
        self.assertEqual((done.returncode, done.stdout), (code, ""), done)
        self.assertRegex(done.stderr, says)
        self.assertNotIn("terminate", done.stderr)
        return done.stderr


@unittest.skipUnless(nodes.BINARY.exists(), f"{nodes.BINARY} is not built")
class Links(Cli):
    @classmethod
    def setUpClass(cls):
        cls.node = cls.enterClassContext(LinksNode())

    def test_add_prints_the_short_link_that_show_and_ls_know(self):
        out = self.good(self.node.cli("add", f"{URL}page?a=1&b=ü", "--alias", "page", "--title", "A page", "--status", "307",
                                      "--expires-at", "2199-01-01T00:00:00Z"))
        self.assertEqual(out, "http://go.test/page\n")
        link = self.node.link("page")
        self.assertEqual((link["url"], link["title"], link["status"], link["expires_at"]),
                         (f"{URL}page?a=1&b=ü", "A page", 307, "2199-01-01T00:00:00.000Z"))
        shown = self.good(self.node.cli("show", "page"))
        for piece in ("http://go.test/page", f"{URL}page?a=1&b=ü", "A page", "307", "2199-01-01", "clicks"):
            self.assertIn(piece, shown)
        self.assertEqual(shown, self.good(self.node.cli("show", "http://go.test/page")))
        self.assertRegex(self.good(self.node.cli("ls", "--search", "A page")), r"^http://go\.test/page +0  https://example\.com/page")

    def test_rules_come_from_a_file_or_standard_input_and_are_shown(self):
        rules = [{"when": [{"device": ["phone"]}], "url": "https://example.com/phone"},
                 {"split": [{"url": "https://example.com/a", "weight": 3}, {"url": "https://example.com/b", "weight": 1}]}]
        file = self.node.folder / "rules.json"
        file.write_text(json.dumps(rules), encoding="utf-8")
        self.good(self.node.cli("add", URL, "--alias", "ruled", "--rules", str(file)))
        self.assertEqual(self.node.link("ruled")["rules"], rules)
        shown = self.good(self.node.cli("show", "ruled"))
        self.assertRegex(shown, r'(?m)^rule 1 +\{"url":"https://example.com/phone","when":\[\{"device":\["phone"\]\}\]\}$')
        self.assertRegex(shown, r"(?m)^rule 2 +\{\"split\":")
        self.assertNotIn("rule 1", self.good(self.node.cli("edit", "ruled", "--no-rules")))
        self.assertEqual(self.node.link("ruled")["rules"], [])
        self.good(self.node.cli("edit", "ruled", "--rules", "-", given=json.dumps(rules[1:])))
        self.assertEqual(self.node.link("ruled")["rules"], rules[1:])
        for text, said in (('[{"url": ]', "not valid JSON"), ('[{"when": [{"os": ["iso"]}], "url": "https://example.com/"}]', 'did you mean "ios"')):
            file.write_text(text, encoding="utf-8")
            refused = self.node.cli("edit", "ruled", "--rules", str(file))
            self.assertIn(refused.returncode, (1, 2))
            self.assertIn(said, refused.stderr)
        self.assertEqual(self.node.cli("edit", "ruled", "--rules", str(self.node.folder / "none.json")).returncode, 2)
        self.assertEqual(self.node.link("ruled")["rules"], rules[1:])

    def test_json_is_the_answer_of_the_api(self):
        made = json.loads(self.good(self.node.cli("add", URL, "--json")))
        self.assertEqual(made, self.node.link(made["code"]))
        self.assertEqual(json.loads(self.good(self.node.cli("show", made["code"], "--json"))), made)
        self.assertIn(made, json.loads(self.good(self.node.cli("ls", "--json"))))
        self.assertEqual(json.loads(self.good(self.node.cli("ls", "--json", "--search", "nothing has this"))), [])

    def test_show_counts_clicks(self):
        code = self.good(self.node.cli("add", URL)).strip().rsplit("/", 1)[1]
        for _ in range(3):
            self.node.follow(code)
        until(lambda: re.search(r"clicks +3\n", self.good(self.node.cli("show", code))), "three clicks")

    def test_stats_shows_clicks_by_day_and_by_dimension(self):
        code = self.good(self.node.cli("add", URL)).strip().rsplit("/", 1)[1]
        for referrer in ("https://news.example/a", "https://news.example/b", "https://blog.example/"):
            self.node.api("GET", f"/{code}", headers={"Referer": referrer})
        until(lambda: "clicks 3 " in self.good(self.node.cli("stats", code)), "three clicks")
        shown = self.good(self.node.cli("stats", code, "--by", "referrer,device", "--step", "hour"))
        self.assertRegex(shown, rf"^{code}, \d{{4}}-\d\d-\d\d \d\d:\d\d to ")
        self.assertRegex(shown, r"\n +\d{4}-\d\d-\d\d \d\d:00 +3  #{40}\n")
        self.assertRegex(shown, r"\nreferrer\n +news\.example +2\n +blog\.example +1\n")
        self.assertNotIn("\ncountry\n", shown)
        self.assertEqual(shown, self.good(self.node.cli("stats", f"http://go.test/{code}", "--by", "referrer,device", "--step", "hour")))
        answer = json.loads(self.good(self.node.cli("stats", code, "--json", "--limit", "1")))
        self.assertEqual((answer["clicks"], len(answer["by"]["referrer"]["values"])), (3, 1))
        self.assertTrue(self.good(self.node.cli("stats")).startswith("all links, "))
        self.bad(self.node.cli("stats", "never-made"), says="no such link")
        self.bad(self.node.cli("stats", code, "--by", "weather"), says="The dimensions are.*by")
        self.bad(self.node.cli("stats", code, "--from", "soon"), says="from")

    def test_tail_shows_clicks_as_they_come_without_what_a_terminal_obeys(self):
        code = self.good(self.node.cli("add", URL)).strip().rsplit("/", 1)[1]
        self.node.cli("add", URL, "--alias", "other")

        def tail(*words):
            process = subprocess.Popen([str(nodes.BINARY), "links", "tail", *words, "--node", "http://%s:%d" % self.node.address()],
                                       stdout=subprocess.PIPE, stderr=subprocess.PIPE)

            def ended():
                self.node.follow("other")
                self.node.api("GET", f"/{code}", headers={"Referer": "https://news.example/", "Accept-Language": "d\u009be"})
                return process.poll() is not None

            until(ended, "the clicks that were wanted")
            out, errors = process.communicate()
            self.assertEqual((process.returncode, errors), (0, b""))
            return out.decode().splitlines()

        lines = tail(code, "--count", "2")
        self.assertEqual(len(lines), 2)
        for line in lines:
            self.assertRegex(line, rf"^\d{{4}}-\d\d-\d\d \d\d:\d\d  {code} .* news\.example$")
            self.assertFalse([c for c in line if ord(c) < 32 or 127 <= ord(c) < 160], line)
        clicks = [json.loads(line) for line in tail("--count", "3", "--json")]
        self.assertEqual(len(clicks), 3)
        self.assertLessEqual({click["code"] for click in clicks}, {code, "other"})

    def test_tail_says_that_the_node_stopped(self):
        with LinksNode() as node:
            tail = subprocess.Popen([str(nodes.BINARY), "links", "tail", "--node", "http://%s:%d" % node.address()],
                                    stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            node.make(URL, alias="seen")

            def followed():
                node.follow("seen")
                return select.select([tail.stdout], [], [], 0)[0]

            until(followed, "a click that is shown")
            node.stop()
            _, errors = tail.communicate(timeout=nodes.PATIENCE)
            self.assertEqual(tail.returncode, 1)
            self.assertRegex(errors.decode(), "^trellis: the node ended the stream")

    def test_ls_goes_through_the_pages_to_its_limit(self):
        with self.node.client() as client:
            made = [self.node.make(f"{URL}many/{number}", client)["code"] for number in range(230)]
        listed = json.loads(self.good(self.node.cli("ls", "--json", "--search", "/many/", "--limit", "225")))
        self.assertEqual([link["code"] for link in listed], made[:4:-1])
        self.assertEqual(len(self.good(self.node.cli("ls", "--limit", "7")).splitlines()), 7)
        self.assertEqual(len(json.loads(self.good(self.node.cli("ls", "--json", "--search", "/many/", "--limit", "100000")))), 230)

    def test_what_the_node_refuses_is_said_and_ends_with_1(self):
        self.node.make(URL, alias="has")
        self.bad(self.node.cli("add", "nonsense"), says=r"^trellis: The URL must begin with http.*\(url\)\n$")
        self.bad(self.node.cli("add", URL, "--alias", "has"), says="alias is taken.*alias")
        self.bad(self.node.cli("add", URL, "--alias", "v1"), says="alias")
        self.bad(self.node.cli("add", URL, "--status", "200"), says="status must be 301, 302, 307 or 308")
        self.bad(self.node.cli("add", URL, "--expires-at", "soon"), says="expires_at")
        self.bad(self.node.cli("add", URL, "--json", "--title", "x" * 600), says="title")
        self.bad(self.node.cli("show", "never-made"), says="no such link")
        self.bad(self.node.cli("show", "a b/../c d"), says="no such link")

    def test_wrong_use_ends_with_2(self):
        for words in (["add"], ["add", URL, "more"], ["add", URL, "--alais", "x"], ["add", URL, "--status", "many"], ["show"],
                      ["ls", "--limit", "0"], ["ls", "--limit", "x"], ["remove", "x"], [], ["edit", "x", "--tag", "a", "--no-tags"],
                      ["edit", "x", "--forward-query", "--no-forward-query"], ["edit", "x", "--password", "--no-password"]):
            with self.subTest(words=words):
                done = trellis("links", *words)
                self.assertEqual(done.returncode, 2, done)
                self.assertTrue(done.stderr)

    def test_a_node_that_is_not_there_is_said_to_be_absent(self):
        for node in ("http://127.0.0.1:1", "http://localhost:1"):
            self.bad(trellis("links", "ls", "--node", node), says=r"^trellis: .*:1\b")
            self.bad(trellis("links", "ls", TRELLIS_NODE=node), says=r"^trellis: .*:1\b")
        for node in ("nonsense", "ftp://localhost", "http://", "http://:80", "http://localhost:99999", "http://no.such.host.invalid"):
            with self.subTest(node=node):
                self.bad(trellis("links", "ls", "--node", node), says="^trellis: ")

    def test_the_environment_names_the_node(self):
        out = self.good(trellis("links", "add", URL, TRELLIS_NODE="http://%s:%d" % self.node.address()))
        self.assertTrue(out.startswith("http://go.test/"))

    def test_the_command_line_wins_over_the_environment(self):
        here, control = "http://%s:%d" % self.node.address(), "%s:%d" % self.node.control
        link = json.loads(self.good(trellis("links", "add", URL, "--json", "--node", here, TRELLIS_NODE="http://127.0.0.1:1")))
        code = link["code"]
        for words in (("ls",), ("show", code), ("edit", code, "--title", "T"), ("stats", code), ("rm", code), ("export", "-")):
            with self.subTest(words=words):
                self.good(trellis("links", *words, "--node", here, TRELLIS_NODE="http://127.0.0.1:1"))
        self.bad(trellis("links", "ls", "--node", "http://127.0.0.1:1", TRELLIS_NODE=here), says=r"^trellis: .*:1\b")
        self.bad(trellis("key", "ls", "--node", here, TRELLIS_NODE="http://127.0.0.1:1"), says="without keys")
        for words in (("jobs", "stats"), ("jobs", "schedules"), ("cache", "ls"), ("ctl", "status"), ("ctl", "hosts"),
                      ("ctl", "loglevel", "info")):
            with self.subTest(words=words):
                self.good(trellis(*words, "--control", control, TRELLIS_CONTROL="127.0.0.1:1"))
                self.bad(trellis(*words, "--control", "127.0.0.1:1", TRELLIS_CONTROL=control), says=r"^trellis: .*:1\b")
        self.bad(trellis("store", "restore", "main", "copy.db", "--config", "/none/line.yaml", TRELLIS_CONFIG="/none/variable.yaml"),
                 says="line.yaml")

    def test_the_address_of_the_node_may_end_with_a_slash(self):
        self.good(trellis("links", "ls", "--node", "http://%s:%d/" % self.node.address()))

    def test_trouble_on_this_side_is_not_laid_at_the_door_of_the_node(self):
        self.node.make(URL)
        self.bad(self.node.cli("import", str(self.node.folder)), says="^trellis: cannot read .*Is a directory\n$")
        for words in (["ls"], ["export", "--format", "csv"]):
            with self.subTest(words=words), open("/dev/full", "wb") as full:
                done = subprocess.run([str(nodes.BINARY), "links", *words, "--node", "http://%s:%d" % self.node.address()],
                                      stdout=full, stderr=subprocess.PIPE, text=True, timeout=nodes.PATIENCE)
                self.assertEqual(done.returncode, 1)
                self.assertRegex(done.stderr, "^trellis: .*(written|No space left)")
                self.assertNotIn("no node answers", done.stderr)

    def test_an_answer_of_something_else_is_no_crash(self):
        for answer in (b"", b"garbage\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nnope", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]",
                       b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nnull", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}",
                       b'HTTP/1.1 200 OK\r\nContent-Length: 15\r\n\r\n{"items":[1,2]}', b'HTTP/1.1 200 OK\r\nContent-Length: 19\r\n\r\n{"items":{"code":1}}'[:-1],
                       b'HTTP/1.1 400 Bad\r\nContent-Length: 12\r\n\r\n{"detail":1}', b"HTTP/1.1 502 Bad\r\nContent-Length: 6\r\n\r\n<html>"):
            def talk(connection, number):
                connection.recv(65536)
                connection.sendall(answer)

            with self.subTest(answer=answer), nodes.RawServer(talk) as server:
                for words in (["ls"], ["add", URL], ["show", "x"]):
                    done = trellis("links", *words, "--node", f"http://127.0.0.1:{server.port}")
                    self.assertIn(done.returncode, (0, 1), done)
                    if done.returncode:
                        self.assertRegex(done.stderr, "^trellis: ")


@unittest.skipUnless(nodes.BINARY.exists(), f"{nodes.BINARY} is not built")
class Ctl(Cli):
    def setUp(self):
        self.node = self.enterContext(LinksNode())

    def ctl(self, *words):
        return trellis("ctl", *words, "--control", "%s:%d" % self.node.control)

    def test_status_shows_each_tier_with_figures(self):
        code = self.node.make(URL)["code"]
        self.node.follow(code)
        out = self.good(self.ctl("status"))
        self.assertRegex(out, r"^links, version [\d.]+\S*, up \d+ s, 2 cores on epoll\n")
        for tier in ("edge", "links", "cache", "store", "clicks"):
            self.assertRegex(out, rf"(?m)^{tier} ")
        status = json.loads(self.good(self.ctl("status", "--json")))
        self.assertEqual(status["node"], "links")
        self.assertTrue(all(tier["id"] in out for tier in status["tiers"]))
        self.assertEqual(json.loads(self.good(trellis("ctl", "status", "--json", TRELLIS_CONTROL="%s:%d" % self.node.control)))["node"], "links")

    def test_reload_says_what_changed_and_what_is_wrong(self):
        code = self.node.make(URL)["code"]
        self.assertIn("0 changes", self.good(self.ctl("reload")))
        self.node.write_config(CONFIG.replace("path: /**", "path: /**, methods: [GET]"))
        self.assertRegex(self.good(self.ctl("reload")), r"routes(?s:.*)reloaded, [1-9]\d* changes?\n$")
        self.assertIn(self.node.api("POST", "/v1/links", {"url": URL})[0], (404, 405))
        self.assertEqual(self.node.follow(code), (302, URL))
        self.node.write_config(CONFIG.replace("cache: hot", "cahce: hot"))
        said = self.bad(self.ctl("reload"), says=r'node\.yaml:9:\d+: services\.links\.cahce: unknown key; did you mean "cache"\?')
        self.assertNotIn("Traceback", said)
        self.assertEqual(self.node.follow(code), (302, URL))
        self.node.write_config(CONFIG)
        self.good(self.ctl("reload"))
        self.node.make(URL)

    def test_loglevel_changes_what_is_logged(self):
        self.assertEqual(self.good(self.ctl("loglevel", "debug")), "level debug\n")
        self.assertEqual(json.loads(self.good(self.ctl("loglevel", "warn", "--json"))), {"level": "warn"})
        self.bad(self.ctl("loglevel", "loud"), says="level must be debug, info, warn, error or off")

    def test_wrong_use_ends_with_2_and_an_absent_node_with_1(self):
        for words in ([], ["loglevel"], ["restart"], ["status", "more"], ["status", "--jsno"]):
            with self.subTest(words=words):
                self.assertEqual(trellis("ctl", *words).returncode, 2)
        self.bad(trellis("ctl", "status", "--control", "127.0.0.1:1"), says=r"127\.0\.0\.1:1\b")


@unittest.skipUnless(nodes.BINARY.exists(), f"{nodes.BINARY} is not built")
class Check(Cli):
    def setUp(self):
        self.folder = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory(prefix="trellis-check-")))

    def file(self, text, name="node.yaml"):
        path = self.folder / name
        path.write_text(text)
        return str(path)

    def test_a_good_configuration_is_called_good_and_nothing_is_made(self):
        path = self.file(CONFIG)
        self.assertEqual(self.good(trellis("check", path)), f"{path}: good: 1 listeners, 1 routes, 0 upstreams, 1 services\n")
        self.assertEqual(json.loads(self.good(trellis("check", path, "--json"))), {"ok": True, "problems": []})
        self.assertEqual(self.good(trellis("check", TRELLIS_CONFIG=path)), self.good(trellis("check", path)))
        self.assertEqual([file.name for file in self.folder.iterdir()], ["node.yaml"])

    def test_every_problem_is_told_at_its_place_with_a_hint(self):
        path = self.file("""\
listeners:
  web: { bnid: "127.0.0.1:0" }
  other: { bind: "127.0.0.1:99999" }
stores:
  main: sqlite:./data/trellis.db
caches:
  hot: { memory: 64 }
services:
  links: { store: mian, cache: hot, base_url: "http://go.test", cache_for: 10 }
routes:
  - { match: { path: /** }, to: service.link }
""")
        said = self.bad(trellis("check", path))
        for line, path_in_config, reason in ((2, "listeners.web.bnid", 'did you mean "bind"'), (3, "listeners.other.bind", ""),
                                             (9, "services.links.cache_for", "")):
            self.assertRegex(said, rf"(?m)^{re.escape(path)}:{line}:\d+: {re.escape(path_in_config)}: .*{reason}")
        answer = trellis("check", path, "--json")
        self.assertEqual(answer.returncode, 1)
        report = json.loads(answer.stdout)
        self.assertEqual((report["ok"], report["problems"]), (False, said.strip().splitlines()))

    def test_names_that_lead_nowhere_are_told_with_the_nearest(self):
        path = self.file(CONFIG.replace("store: main", "store: mian").replace("service.links", "service.link"))
        said = self.bad(trellis("check", path))
        self.assertRegex(said, r":9:\d+: services\.links\.store: .*(?s:.*)main")
        self.assertRegex(said, r":11:\d+: routes\S*: .*(?s:.*)links")

    def test_what_is_no_configuration_is_said_so(self):
        self.bad(trellis("check", str(self.folder / "absent.yaml")), says=r"absent\.yaml")
        for text in ("listeners: [", "a: b: c", "- 1", "\x00", "listeners: &a [*a]", "text"):
            with self.subTest(text=text):
                self.bad(trellis("check", self.file(text)), says=r"node\.yaml")

    def test_values_can_be_set_and_are_checked_as_well(self):
        path = self.file(CONFIG)
        self.good(trellis("check", path, "--set", "services.links.status=308"))
        self.bad(trellis("check", path, "--set", "services.links.status=303"), says="must be 301, 302, 307 or 308")
        self.bad(trellis("check", path, "--set", "services.links.statsu=302"), says='did you mean "status"')
        self.bad(trellis("check", path, "--set", "nonsense"), says="nonsense")

    def test_the_printed_configuration_is_good_and_runs_as_the_built_in_one(self):
        text = self.good(trellis("run", "--print-config"))
        self.good(trellis("check", self.file(text)))
        self.assertIn("service.links", text)
        self.assertEqual([file.name for file in self.folder.iterdir()], ["node.yaml"])

    def test_a_bad_configuration_does_not_run(self):
        path = self.file(CONFIG.replace("listeners", "listners"))
        self.bad(trellis("run", path), says=r'node\.yaml:2:\d+: listners: unknown key; did you mean "listeners"')
        self.bad(trellis("run", str(self.folder / "absent.yaml")), says=r"absent\.yaml")


@unittest.skipUnless(nodes.BINARY.exists(), f"{nodes.BINARY} is not built")
class Help(Cli):
    def test_version_is_one_line(self):
        self.assertRegex(self.good(trellis("version")), r"^trellis \d+\.\d+\.\d+\S*\n$")

    def test_the_help_of_each_command_shows_an_example_of_it(self):
        for command in COMMANDS:
            for flag in ("--help", "-h"):
                with self.subTest(command=command, flag=flag):
                    out = self.good(trellis(*command.split(), flag))
                    self.assertIn(f"trellis {command}", out.split("Example")[-1])
                    self.assertIn("Example", out)
        self.assertIn("Examples:", self.good(trellis("--help")))

    def test_commands_that_are_none_end_with_2(self):
        for words in ([], ["rnu"], ["--nope"], ["version", "more"], ["check"], ["run", "a", "b"]):
            with self.subTest(words=words):
                done = trellis(*words)
                self.assertEqual((done.returncode, bool(done.stderr)), (2, True), done)


if __name__ == "__main__":
    unittest.main(verbosity=2)
