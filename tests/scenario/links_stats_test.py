#!/usr/bin/env python3
"""Statistics of links: a real access log replayed as clicks and compared with a plain count of it; crashes; the live stream.

    python3 tests/scenario/links_stats_test.py

The log is access-log-2015.tsv.xz, and the database of countries MaxMind's test data, in the folder that TRELLIS_DATA names or in
../shared/data beside the source tree; without them their tests are skipped. Each of the log's clients gets an address of its own in
127/8.
"""
import collections
import contextlib
import json
import lzma
import os
import pathlib
import shutil
import socket
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import node as nodes  # noqa: E402
from links_node import CONFIG, LinksNode, request  # noqa: E402
from node import until  # noqa: E402

FOLDER = pathlib.Path(os.environ.get("TRELLIS_DATA", nodes.ROOT.parent / "shared/data"))
DATA = FOLDER / "access-log-2015.tsv.xz"
COUNTRIES = FOLDER / "mmdb/test-data/GeoIP2-Country-Test.mmdb"
LOGGED = CONFIG.replace("services:\n", "logs:\n  events: dir:./data/events\nservices:\n").replace(
    "cache: hot,", "cache: hot, log: events,")
WITH_COUNTRIES = LOGGED.replace("log: events,", "log: events, countries: countries.mmdb,").replace(
    '"127.0.0.1:0" }', '"127.0.0.1:0", trusted: [127.0.0.0/8] }')
PHONE = "Mozilla/5.0 (iPhone; CPU iPhone OS 17_0 like Mac OS X) AppleWebKit/605.1.15 Version/17.0 Mobile/15E148 Safari/604.1"
BOT = "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"


class From(nodes.Client):
    """A connection from an address of 127/8."""

    def __init__(self, address, source):
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self.socket.settimeout(nodes.PATIENCE)
        self.socket.bind((source, 0))
        self.socket.connect(address)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.rest = b""
        self.ended = False


def address_of(client):
    return f"127.{1 + client // 60000}.{client // 250 % 240}.{1 + client % 250}"


def stats(node, code=None, **parameters):
    path = f"/v1/links/{code}/stats" if code else "/v1/stats"
    query = "&".join(f"{name}={value}" for name, value in parameters.items())
    status, _, answer = node.api("GET", f"{path}?{query}")
    assert status == 200, answer
    return answer


def values(answer, dimension):
    return {one["value"]: one["clicks"] for one in answer["by"][dimension]["values"]}


@unittest.skipUnless(nodes.BINARY.exists(), f"{nodes.BINARY} is not built")
class Statistics(unittest.TestCase):
    @unittest.skipUnless(DATA.exists(), f"{DATA.name} is not there")
    def test_a_replayed_access_log_counts_as_a_plain_count_does(self):
        rows = []
        for line in lzma.open(DATA, "rt", encoding="utf-8"):
            if not line.startswith("#"):
                _, client, method, path, *_ = line.rstrip("\n").split("\t")
                rows.append((int(client), method, path))
        self.assertEqual(len(rows), 10000)
        clicked = [(client, path) for client, method, path in rows if method == "GET"]
        with LinksNode(LOGGED) as node:
            codes = {}
            with node.client() as one:
                for path in sorted({path for _, _, path in rows}):
                    codes[path] = node.make(f"https://site.example/{len(codes)}", client=one)["code"]
            half = len(rows) // 2
            done = 0
            for part in (rows[:half], rows[half:]):
                by_client = collections.defaultdict(list)
                for client, method, path in part:
                    by_client[client].append((method, path))
                for client, asked in by_client.items():
                    with From(node.address(), address_of(client)) as one:
                        for method, path in asked:
                            status, _, _ = node.api(method, f"/{codes[path]}", client=one,
                                                    headers={"Referer": f"https://www.from{client % 7}.example/page"})
                            self.assertEqual(status, 302 if method in ("GET", "HEAD") else 405)
                done += sum(method == "GET" for _, method, _ in part)
                until(lambda: stats(node)["clicks"] >= done, f"{done} clicks counted", seconds=60)
                node.kill()  # nothing that is counted is counted again
                node.start()
            plain = collections.Counter(path for _, path in clicked)
            self.assertEqual(stats(node)["clicks"], len(clicked))
            with node.client() as one:
                for path, code in codes.items():
                    _, _, link = node.api("GET", f"/v1/links/{code}", client=one)
                    self.assertEqual(link["clicks"], plain[path], path)
            for path, count in plain.most_common(20):
                answer = stats(node, codes[path])
                self.assertEqual(answer["clicks"], count, path)
                self.assertEqual(sum(point["clicks"] for point in stats(node, codes[path], step="minute")["series"]), count)
                visitors = len({client for client, other in clicked if other == path})
                self.assertAlmostEqual(answer["visitors"], visitors, delta=max(1, visitors * 0.05))
                hosts = collections.Counter(f"from{client % 7}.example" for client, other in clicked if other == path)
                self.assertEqual(values(answer, "referrer"), dict(hosts))
            people = len({client for client, _ in clicked})
            self.assertAlmostEqual(stats(node)["visitors"], people, delta=people * 0.05)

    def test_dimensions_and_programs_apart(self):
        with LinksNode(LOGGED) as node:
            code = node.make("https://example.com/", rules=[
                {"when": [{"device": ["phone"]}], "url": "https://example.com/phone"}])["code"]
            for agent, query, times in ((PHONE, "?utm_source=mail", 3), (BOT, "", 2), ("", "?qr", 1)):
                for _ in range(times):
                    fields = {"User-Agent": agent, "Accept-Language": "de-CH, en;q=0.5"} if agent else {}
                    self.assertEqual(node.api("GET", f"/{code}{query}", headers=fields)[0], 302)
            until(lambda: stats(node, code)["clicks"] == 4, "the clicks counted")
            answer = stats(node, code)
            self.assertEqual(answer["bots"], 2)
            self.assertEqual(values(answer, "device"), {"phone": 3, "other": 1})
            self.assertEqual(values(answer, "os"), {"ios": 3, "other": 1})
            self.assertEqual(values(answer, "rule"), {"1": 3})
            self.assertEqual(answer["by"]["rule"]["none"], 1)
            self.assertEqual(values(answer, "source"), {"link": 3, "qr": 1})
            self.assertEqual(values(answer, "language"), {"de": 3})
            self.assertEqual(values(answer, "utm_source"), {"mail": 3})
            self.assertEqual(values(stats(node, code, bots="only"), "language"), {"de": 2})
            self.assertEqual(values(stats(node, code, bots="all", by="source"), "source"), {"link": 5, "qr": 1})
            status, _, problem = node.api("GET", f"/v1/links/{code}/stats?step=week")
            self.assertEqual((status, problem["field"]), (400, "step"))
            self.assertEqual(node.api("DELETE", f"/v1/links/{code}")[0], 204)
            self.assertEqual(node.api("GET", f"/v1/links/{code}/stats")[0], 410)
            files = [path for path in (node.folder / "data").rglob("*") if path.is_file()]
            for path in files:
                if path.name != "access.log":
                    self.assertNotIn(b"127.0.0.1", path.read_bytes(), "an address on the disk")

    @unittest.skipUnless(COUNTRIES.exists(), f"{COUNTRIES.name} is not there")
    def test_countries_choose_targets_and_are_counted(self):
        node = LinksNode(WITH_COUNTRIES)
        shutil.copy(COUNTRIES, node.folder / "countries.mmdb")
        with node:
            code = node.make("https://example.com/", rules=[
                {"when": [{"country": ["SE", "GB"]}], "url": "https://example.com/europe"}])["code"]
            for address, target in (("2.125.160.216", "europe"), ("89.160.20.112", "europe"), ("2.125.160.216", "europe"),
                                    ("216.160.83.56", ""), ("127.0.0.1", "")):
                status, fields, _ = node.api("GET", f"/{code}", headers={"X-Forwarded-For": address, "User-Agent": PHONE})
                self.assertEqual((status, fields["location"]), (302, f"https://example.com/{target}"), address)
            until(lambda: stats(node, code)["clicks"] == 5, "the clicks counted")
            answer = stats(node, code)
            self.assertEqual(values(answer, "country"), {"GB": 2, "SE": 1, "US": 1})
            self.assertEqual(answer["by"]["country"]["none"], 1)
            self.assertEqual(values(answer, "rule"), {"1": 3})

    def test_a_node_does_not_start_without_its_database_of_countries(self):
        node = LinksNode(WITH_COUNTRIES)
        with self.assertRaisesRegex(AssertionError, "cannot start.*countries.mmdb"):
            node.start()

    def test_clicks_of_a_crash_are_in_the_log(self):
        with LinksNode(LOGGED) as node:
            code = node.make("https://example.com/")["code"]
            before = 0
            for _ in range(5):
                with node.client() as one:
                    for _ in range(50):
                        node.api("GET", f"/{code}", client=one)
                at_least = before
                # What the live picture knows is in the log or about to be.
                until(lambda: node.link(code)["clicks"] > at_least, "some clicks counted")
                counted = node.link(code)["clicks"]
                node.kill()
                node.start()
                self.assertGreaterEqual(node.link(code)["clicks"], counted)
                until(lambda: stats(node, code)["clicks"] == node.link(code)["clicks"], "both counters at one place")
                before = node.link(code)["clicks"]
            self.assertLessEqual(before, 250)

    def test_the_targets_of_a_split_are_counted_apart(self):
        with LinksNode(LOGGED) as node, node.client() as watcher:
            split = [{"url": "https://example.com/a", "weight": 1}, {"url": "https://example.com/b", "weight": 1}]
            rules = [{"when": [{"device": ["phone"]}], "url": "https://example.com/phone"}, {"split": split}]
            watcher.send(request("GET", "/v1/stream"))
            while b"retry:" not in watcher.rest:
                self.assertTrue(watcher.more())
            wanted = collections.Counter()
            for _ in range(12):  # each link is another lot for the same visitor
                code = node.make("https://example.com/", rules=rules)["code"]
                wanted["2" + node.follow(code)[1][-1]] += 1
            until(lambda: stats(node)["clicks"] == 12, "all clicks counted")
            told = stats(node, by="rule")["by"]["rule"]["values"]
            self.assertEqual({each["value"]: each["clicks"] for each in told}, dict(wanted))
            while watcher.rest.count(b"event: click") < 12:
                self.assertTrue(watcher.more())
            seen = [json.loads(line[6:]) for line in watcher.rest.decode().splitlines() if line.startswith("data: ")]
            self.assertEqual(collections.Counter(f"{click['rule']}{' ab'[click['target']]}" for click in seen), wanted)

    def test_watchers_see_clicks_and_a_stop_does_not_wait_for_them(self):
        with LinksNode(LOGGED) as node:
            code = node.make("https://example.com/")["code"]
            other = node.make("https://example.com/other")["code"]
            with node.client() as all_clicks, node.client() as one_link:
                all_clicks.send(request("GET", "/v1/stream"))
                one_link.send(request("GET", f"/v1/stream?code={other}"))
                for client in (all_clicks, one_link):
                    while b"retry:" not in client.rest:
                        self.assertTrue(client.more())
                for followed in (code, code, other):
                    node.follow(followed)
                while all_clicks.rest.count(b"event: click") < 3:
                    self.assertTrue(all_clicks.more())
                while one_link.rest.count(b"event: click") < 1:
                    self.assertTrue(one_link.more())
                seen = [json.loads(line[6:]) for line in all_clicks.rest.decode().splitlines() if line.startswith("data: ")]
                self.assertEqual(sorted(click["code"] for click in seen), sorted([code, code, other]))  # each core has its order
                self.assertNotIn(code.encode(), one_link.rest)
                self.assertEqual(node.stop(), 0)
                while all_clicks.more():
                    pass
            self.assertIn(b"0\r\n\r\n", all_clicks.rest[-7:])

    def test_one_watcher_too_many_is_told_to_come_again(self):
        with LinksNode(LOGGED) as node, contextlib.ExitStack() as watching:
            for _ in range(100):
                watcher = watching.enter_context(node.client())
                watcher.send(request("GET", "/v1/stream"))
                while b"retry:" not in watcher.rest:
                    self.assertTrue(watcher.more())
            status, fields, problem = node.api("GET", "/v1/stream")
            self.assertEqual((status, problem["code"], problem["temporary"]), (503, "too_many_watchers", True))
            self.assertGreaterEqual(int(fields["retry-after"]), 1)


if __name__ == "__main__":
    unittest.main()
