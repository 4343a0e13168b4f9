#!/usr/bin/env python3
"""kill -9 in the midst of link creations, a hundred times in a row, and the copies that `trellis store` makes.

    python3 tests/scenario/store_crash_test.py

TRELLIS_QUICK in the environment means ten rounds instead of a hundred.
"""
import json
import os
import pathlib
import subprocess
import sys
import threading
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import node as nodes  # noqa: E402
from links_node import LinksNode, request  # noqa: E402
from node import Malformed  # noqa: E402

ROUNDS = 10 if os.environ.get("TRELLIS_QUICK") else 100
THREADS = 8
LOAD_SECONDS = 0.3
URL = "https://example.com/"


def store(node, *words):
    """`trellis store` with the node's configuration."""
    return subprocess.run([node.command[0], "store", *words, "--config", str(node.config_path)], capture_output=True,
                          text=True, timeout=nodes.PATIENCE, cwd=node.folder)


def create(node, name, acknowledged, stop):
    """Creates links one after the other until told, or until the node is gone; notes those that were answered with 201."""
    try:
        with node.client() as client:
            number = 0
            while not stop.is_set():
                url = f"{URL}{name}/{number}"
                status, _, link = node.api("POST", "/v1/links", {"url": url}, client=client)
                assert status == 201, link
                acknowledged[link["code"]] = url
                number += 1
    except (EOFError, OSError, Malformed):
        pass  # the kill: the last one may be there or not, and was not acknowledged


def load(node, name, seconds=LOAD_SECONDS):
    """What THREADS clients were told before the kill: {code: url}."""
    told = [{} for _ in range(THREADS)]
    stop = threading.Event()
    threads = [threading.Thread(target=create, args=(node, f"{name}-{number}", told[number], stop))
               for number in range(THREADS)]
    for thread in threads:
        thread.start()
    stop.wait(seconds)
    node.kill()
    stop.set()
    for thread in threads:
        thread.join()
    return {code: url for one in told for code, url in one.items()}


def wrong_redirects(node, links, batch=100):
    """Those of {code: url} that do not redirect exactly there: [(code, status, Location)]. Pipelined, to be quick."""
    wrong = []
    codes = list(links)
    with node.client() as client:
        for start in range(0, len(codes), batch):
            some = codes[start:start + batch]
            client.send(b"".join(request("GET", f"/{code}") for code in some))
            for code in some:
                answer = client.answer()
                place = answer.get(b"location")
                if answer.status != 302 or place != links[code].encode():
                    wrong.append((code, answer.status, place))
    return wrong


@unittest.skipUnless(nodes.BINARY.exists(), f"{nodes.BINARY} is not built")
class Crash(unittest.TestCase):
    def test_a_hundred_kills_lose_no_link_that_was_acknowledged(self):
        with LinksNode() as node:
            links = {}
            for turn in range(ROUNDS):
                made = load(node, turn)
                node.start()
                self.assertTrue(made, f"round {turn} created nothing")
                self.assertFalse(set(made) & set(links), "a code was given twice")
                self.assertEqual(wrong_redirects(node, made), [], f"round {turn}")
                links.update(made)
            # Those of the first rounds too, after all the crashes since.
            self.assertEqual(wrong_redirects(node, links), [])
            node.kill()
            checked = store(node, "check", "main", "--json")
            self.assertEqual(checked.returncode, 0, checked.stderr + checked.stdout)
            self.assertTrue(json.loads(checked.stdout)["ok"])
            print(f"{ROUNDS} kills, {len(links)} links acknowledged, all there", file=sys.stderr)
            node.start()


@unittest.skipUnless(nodes.BINARY.exists(), f"{nodes.BINARY} is not built")
class Copies(unittest.TestCase):
    def test_a_copy_after_a_crash_holds_what_was_acknowledged_and_comes_back(self):
        with LinksNode() as node:
            first = load(node, "first")
            done = store(node, "backup", "main", "copy.db")
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertEqual((node.folder / "copy.db").stat().st_mode & 0o777, 0o600)
            node.start()
            second = load(node, "second")

            refused = store(node, "restore", "main", "copy.db")
            self.assertEqual(refused.returncode, 1)
            self.assertIn("--force", refused.stderr)
            done = store(node, "restore", "main", "copy.db", "--force")
            self.assertEqual(done.returncode, 0, done.stderr)
            node.start()
            self.assertEqual(wrong_redirects(node, first), [])
            self.assertEqual({status for _, status, _ in wrong_redirects(node, second)}, {404})
            node.kill()

            # And to what was replaced, with the WAL that the crash had left.
            done = store(node, "restore", "main", "data/trellis.db.replaced", "--force")
            self.assertEqual(done.returncode, 0, done.stderr)
            node.start()
            self.assertEqual(wrong_redirects(node, {**first, **second}), [])

    def test_a_running_node_keeps_its_store_to_itself(self):
        with LinksNode() as node:
            link = node.make(URL)
            for words in (("backup", "main", "copy.db"), ("check", "main")):
                refused = store(node, *words)
                self.assertEqual(refused.returncode, 1, words)
                self.assertIn(f"(process {node.pid})", refused.stderr)
            (node.folder / "copy.db").write_bytes(b"")
            refused = store(node, "restore", "main", "copy.db", "--force")
            self.assertEqual(refused.returncode, 1)
            self.assertIn(f"(process {node.pid})", refused.stderr)
            self.assertEqual(node.follow(link["code"]), (302, URL))

    def test_a_damaged_store_is_told_and_a_damaged_copy_is_not_restored(self):
        with LinksNode() as node:
            made = load(node, "made", seconds=1.0)
            self.assertEqual(store(node, "backup", "main", "copy.db").returncode, 0)
            size = (node.folder / "copy.db").stat().st_size
            with open(node.folder / "copy.db", "r+b") as file:
                # Behind the schema, which lies in front: without it a copy is no database at all.
                for page in range(size // 4096 // 2, size // 4096, 2):
                    file.seek(page * 4096)
                    file.write(b"\x7f" * 64)
            checked = store(node, "check", "main", "copy.db")
            self.assertEqual(checked.returncode, 1)
            self.assertIn("DAMAGED", checked.stdout)
            refused = store(node, "restore", "main", "copy.db", "--force")
            self.assertEqual(refused.returncode, 1)
            self.assertIn("damaged", refused.stderr)
            node.start()
            self.assertEqual(wrong_redirects(node, made), [])

    def test_wrong_use_is_told(self):
        with LinksNode() as node:
            node.stop()
            self.assertEqual(store(node).returncode, 2)
            self.assertEqual(store(node, "backup", "main").returncode, 2)
            unknown = store(node, "check", "mian")
            self.assertEqual(unknown.returncode, 1)
            self.assertIn("there are: main", unknown.stderr)
            node.start()


if __name__ == "__main__":
    unittest.main(verbosity=2)
