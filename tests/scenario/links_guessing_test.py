#!/usr/bin/env python3
"""Who tries codes is slowed down, and nobody else.

    python3 tests/scenario/links_guessing_test.py
"""
import pathlib
import subprocess
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import node as nodes  # noqa: E402
from links_node import CONFIG, LinksNode  # noqa: E402

FEW = CONFIG.replace('base_url: "http://go.test"', 'base_url: "http://go.test", guesses: 5')
URL = "https://example.com/"


def other_address():
    """An IPv4 address of this machine that is not the loopback's: a client that has it is somebody else."""
    known = subprocess.run(["hostname", "-I"], capture_output=True, text=True, timeout=nodes.PATIENCE).stdout.split()
    return next((each for each in known if "." in each and not each.startswith("127.")), None)


@unittest.skipUnless(nodes.BINARY.exists(), f"{nodes.BINARY} is not built")
class Guessing(unittest.TestCase):
    def curl(self, node, *paths, source="127.0.0.1"):
        """[(status, Retry-After)] of one connection."""
        base = "http://%s:%d" % node.address()
        words = [word for path in paths for word in ("-o", "/dev/null", base + path)]
        done = subprocess.run(["curl", "-sS", "--interface", source, "-w", "%{http_code} %header{retry-after}\\n", *words],
                              capture_output=True, text=True, timeout=nodes.PATIENCE)
        self.assertEqual(done.returncode, 0, done)
        return [tuple(line.split(" ")) for line in done.stdout.splitlines()]

    def test_a_block_is_slowed_then_shut_out_while_others_go_on(self):
        source = other_address()
        if not source:
            self.skipTest("this machine has the loopback only")
        with LinksNode(FEW) as node:
            code = node.make(URL)["code"]
            unknown = [f"/none{i}" for i in range(8)]
            statuses = [status for status, _ in self.curl(node, *unknown, source=source)]
            self.assertEqual(statuses, ["404"] * 5 + ["429"] * 3)
            self.assertEqual(self.curl(node, "/" + code, source=source)[0][0], "302")
            (status, wait), = self.curl(node, "/none+", source=source)
            self.assertEqual(status, "429")
            self.assertTrue(1 <= int(wait) <= 60, wait)
            described = node.api("GET", "/v1/openapi.json")[2]["paths"]
            for ending in ("", "+", ".qr"):
                self.assertEqual(self.curl(node, "/none" + ending, source=source)[0][0], "429")
                self.assertIn("429", described["/{code}" + ending]["get"]["responses"])
            self.curl(node, *(f"/more{i}" for i in range(60)), source=source)
            self.assertEqual(self.curl(node, "/" + code, source=source)[0][0], "429")
            self.assertEqual(self.curl(node, "/" + code)[0][0], "302")
            self.assertEqual(self.curl(node, "/none")[0][0], "404")

    def test_the_machine_itself_is_never_slowed(self):
        with LinksNode(FEW) as node:
            self.assertEqual({status for status, _ in self.curl(node, *(f"/none{i}" for i in range(80)))}, {"404"})


if __name__ == "__main__":
    unittest.main()
