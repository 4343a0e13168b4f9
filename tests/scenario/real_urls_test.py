#!/usr/bin/env python3
"""48,009 real URLs become links over 48 connections while the node is killed twice, and each is followed to its target.

    python3 tests/scenario/real_urls_test.py

The URLs are urls.txt.xz in the folder that TRELLIS_DATA names, or in ../shared/data beside the source tree; without them the
test is skipped. Each creation carries an Idempotency-Key, so that those in flight at a crash can be repeated: afterwards there
is exactly one link for each URL, whether its first answer arrived or not.
"""
import asyncio
import collections
import json
import lzma
import os
import pathlib
import sys
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import node as nodes  # noqa: E402
from links_node import LinksNode, request  # noqa: E402

DATA = pathlib.Path(os.environ.get("TRELLIS_DATA", nodes.ROOT.parent / "shared/data")) / "urls.txt.xz"
INVALID = "https://"
CONNECTIONS = 48
KILLED_AT = (0.3, 0.7)  # shares of the creations


def location_of(url):
    """What a redirect to it carries: ASCII as it is, the rest percent-encoded."""
    return b"".join(bytes([byte]) if byte < 0x80 else b"%%%02X" % byte for byte in url.encode())


class Answered:
    __slots__ = ("status", "location", "body")


async def ask(reader, writer, data):
    writer.write(data)
    head = await reader.readuntil(b"\r\n\r\n")
    answered = Answered()
    answered.status = int(head[9:12])
    answered.location = None
    length = 0
    for line in head.split(b"\r\n")[1:-2]:
        name, _, value = line.partition(b":")
        name = name.lower()
        if name == b"content-length":
            length = int(value)
        elif name == b"location":
            answered.location = value[1:]
    answered.body = await reader.readexactly(length) if length else b""
    return answered


async def each(node, items, work):
    """Runs work(ask, item) for all items over CONNECTIONS connections. What was under way when the node died is done again."""
    waiting = collections.deque(items)

    async def connection():
        reader = writer = None
        deaths = 0
        try:
            while waiting:
                item = waiting.popleft()
                try:
                    if writer is None:
                        reader, writer = await asyncio.open_connection(*node.address())
                    await work(lambda data: ask(reader, writer, data), item)
                except (ConnectionError, asyncio.IncompleteReadError):
                    waiting.appendleft(item)
                    if writer is not None:
                        writer.close()
                    writer = None
                    deaths += 1
                    if deaths > 20:
                        raise
        finally:
            if writer is not None:
                writer.close()

    await asyncio.gather(*(connection() for _ in range(CONNECTIONS)))


@unittest.skipUnless(nodes.BINARY.exists(), f"{nodes.BINARY} is not built")
@unittest.skipUnless(DATA.exists(), f"{DATA} is not there; TRELLIS_DATA names the folder with urls.txt.xz")
class RealUrls(unittest.TestCase):
    def test_each_leads_to_its_target_though_the_node_was_killed_twice(self):
        self.through("epoll")

    def test_the_same_on_io_uring(self):
        if why := nodes.uring_missing():
            self.skipTest(why)
        self.through("uring")

    def through(self, io):
        urls = lzma.open(DATA, "rt", encoding="utf-8", newline="\n").read().split("\n")
        self.assertEqual(urls.count(INVALID), 1)
        valid = [url for url in urls if url and url != INVALID]
        self.assertEqual(len(valid), 48_009)
        begin = time.monotonic()
        with LinksNode(io=io) as node:
            self.refused(node)
            codes = asyncio.run(self.create(node, valid))
            created = time.monotonic()
            self.assertEqual(len(set(codes)), len(valid), "a code was given twice")
            asyncio.run(self.follow(node, codes, valid))
            followed = time.monotonic()
            self.counted(node, dict(zip(codes, valid)))
            print(f"{len(valid)} URLs: created in {created - begin:.1f} s, followed in {followed - created:.1f} s, "
                  f"counted in {time.monotonic() - followed:.1f} s", file=sys.stderr)

    def refused(self, node):
        status, fields, problem = node.api("POST", "/v1/links", {"url": INVALID})
        self.assertEqual((status, problem["field"], problem["detail"]), (400, "url", "The URL has no host."))
        self.assertEqual(fields["content-type"], "application/problem+json")

    async def create(self, node, urls):
        codes = [None] * len(urls)
        kills = [int(share * len(urls)) for share in KILLED_AT]
        acknowledged = 0

        async def one(ask, number):
            nonlocal acknowledged
            answer = await ask(request("POST", "/v1/links", {"url": urls[number]}, {"Idempotency-Key": f"line-{number}"}))
            link = json.loads(answer.body)
            self.assertEqual(answer.status, 201, (urls[number], link))
            self.assertEqual(link["url"], urls[number])
            codes[number] = link["code"]
            acknowledged += 1
            if kills and acknowledged >= kills[0]:
                kills.pop(0)
                node.kill()  # the other connections have their requests under way
                node.start()

        await each(node, range(len(urls)), one)
        self.assertEqual(kills, [])
        return codes

    async def follow(self, node, codes, urls):
        async def one(ask, number):
            answer = await ask(request("GET", f"/{codes[number]}"))
            self.assertEqual((answer.status, answer.location), (302, location_of(urls[number])))

        await each(node, range(len(urls)), one)

    def counted(self, node, urls):
        nodes.until(lambda: sum(link["clicks"] for link in node.listed()) >= len(urls), "every click counted", every=0.5)
        listed = node.listed()
        self.assertEqual({link["code"]: link["url"] for link in listed}, urls)
        self.assertEqual(len(listed), len(urls), "a crash left a link behind that its repeat did not find")
        self.assertEqual([link["code"] for link in listed if link["clicks"] != 1], [])


if __name__ == "__main__":
    unittest.main(verbosity=2)
