#!/usr/bin/env python3
"""What links and clicks survive: a stop, a crash, a full disk, a disk that takes no writes, the wrong data folder.

    python3 tests/scenario/links_durability_test.py

The faults of the disk want a mount namespace (unshare), and are skipped where there is none. The size limit wants prlimit.
"""
import os
import pathlib
import shutil
import sqlite3
import subprocess
import sys
import threading
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import node as nodes  # noqa: E402
from links_node import LinksNode  # noqa: E402
from node import until  # noqa: E402

URL = "https://example.com/"
UNSHARE = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--map-root-user", "--mount"]


def no_mounts():
    """Why nothing can be mounted here, or an empty string."""
    if not shutil.which("unshare") or not shutil.which("nsenter"):
        return "unshare and nsenter are not installed"
    tried = subprocess.run([*UNSHARE, "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True, text=True)
    return "" if tried.returncode == 0 else f"no mount namespace: {tried.stderr.strip()}"


class SmallDiskNode(LinksNode):
    """Its data folder is a file system of its own, 8 MiB large, that is seen by the node only."""

    def __init__(self):
        super().__init__()
        self.command = [*UNSHARE, "sh", "-c", 'mount -t tmpfs -o size=8m none data && exec "$@"', "sh", *self.command]

    def inside(self, *words):
        """A command that sees the node's mounts; paths must be absolute."""
        user = ["--user"] if os.geteuid() else []
        return subprocess.run(["nsenter", "-t", str(self.pid), "--mount", *user, *words], capture_output=True, text=True,
                              timeout=nodes.PATIENCE)

    def fill(self):
        """Leaves no block for anybody."""
        done = self.inside("dd", "if=/dev/zero", f"of={self.folder}/data/filler", "bs=4k", "count=2048")
        assert "No space left" in done.stderr, done.stderr

    def make_room(self):
        assert self.inside("rm", f"{self.folder}/data/filler").returncode == 0


def follow_together(node, codes, times, connections=8):
    """Follows each code `times` times from each connection; gives the number of redirects that were answered."""
    done = [0] * connections

    def one(number):
        with node.client() as client:
            for turn in range(times):
                for code in codes:
                    status, _ = node.follow(code, client=client)
                    done[number] += status == 302

    threads = [threading.Thread(target=one, args=(number,)) for number in range(connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(done)


def clicks(node):
    return sum(link["clicks"] for link in node.listed())


@unittest.skipUnless(nodes.BINARY.exists(), f"{nodes.BINARY} is not built")
class Clicks(unittest.TestCase):
    def test_a_stop_loses_none(self):
        with LinksNode() as node:
            codes = [node.make(f"{URL}{number}")["code"] for number in range(10)]
            followed = 0
            for _ in range(3):
                followed += follow_together(node, codes, 10)
                self.assertEqual(node.stop(), 0, node.errors_before)
                node.start()
                self.assertEqual(clicks(node), followed)
            self.assertEqual(followed, 2400)

    def test_a_stop_amid_traffic_counts_each_redirect_that_was_answered(self):
        with LinksNode() as node:
            code = node.make(URL)["code"]
            answered = [0] * 8
            broken = [0] * 8

            def one(number):
                with node.client() as client:
                    try:
                        while answered[number] < 100_000:
                            status, _ = node.follow(code, client=client)
                            answered[number] += status == 302
                    except (EOFError, OSError):
                        broken[number] = 1  # this one may have been counted, though its answer was not read

            threads = [threading.Thread(target=one, args=(number,)) for number in range(8)]
            for thread in threads:
                thread.start()
            until(lambda: min(answered) > 50, "traffic")
            self.assertEqual(node.stop(), 0, node.errors_before)
            for thread in threads:
                thread.join()
            node.start()
            self.assertGreaterEqual(clicks(node), sum(answered))
            self.assertLessEqual(clicks(node), sum(answered) + sum(broken))

    def test_a_crash_loses_only_what_was_not_counted_yet(self):
        with LinksNode() as node:
            codes = [node.make(f"{URL}{number}")["code"] for number in range(10)]
            counted = follow_together(node, codes, 5)
            until(lambda: clicks(node) == counted, "the clicks counted", seconds=30)
            waiting = follow_together(node, codes, 5)
            node.kill()
            node.start()
            self.assertGreaterEqual(clicks(node), counted)
            self.assertLessEqual(clicks(node), counted + waiting)

    def test_a_crash_loses_no_change_that_was_answered(self):
        with LinksNode() as node:
            kept, changed, deleted = (node.make(URL, alias=name)["code"] for name in ("kept", "changed", "deleted"))
            key = {"Idempotency-Key": "before-the-crash"}
            first = node.api("POST", "/v1/links", {"url": URL}, key)[2]
            self.assertEqual(node.api("PATCH", f"/v1/links/{changed}", {"url": f"{URL}new"})[0], 200)
            self.assertEqual(node.api("DELETE", f"/v1/links/{deleted}")[0], 204)
            node.kill()
            node.start()
            self.assertEqual(node.follow(kept), (302, URL))
            self.assertEqual(node.follow(changed), (302, f"{URL}new"))
            self.assertEqual(node.follow(deleted)[0], 410)
            self.assertEqual(node.api("POST", "/v1/links", {"url": URL}, key)[2], first)
            self.assertEqual(node.api("POST", "/v1/links", {"url": URL, "alias": "deleted"})[0], 409)
            codes = {node.make(URL)["code"] for _ in range(100)}
            self.assertEqual(len(codes | {kept, changed, deleted, first["code"]}), 104)


@unittest.skipUnless(nodes.BINARY.exists(), f"{nodes.BINARY} is not built")
class Faults(unittest.TestCase):
    def refused(self, answer):
        status, fields, problem = answer
        self.assertEqual((status, fields["content-type"]), (503, "application/problem+json"), problem)
        self.assertEqual((problem["temporary"], problem["status"]), (True, 503), problem)
        self.assertTrue(problem["detail"])
        self.assertNotIn(str(nodes.ROOT), problem["detail"])
        self.assertNotIn("data/", problem["detail"])

    def create(self, node):
        # Large enough that no room inside the file hides the fault.
        return node.api("POST", "/v1/links", {"url": URL + "x" * 8000})

    def until_refused(self, node):
        return until(lambda: (answer := self.create(node))[0] != 201 and answer, "a creation refused")

    def until_made(self, node):
        until(lambda: self.create(node)[0] == 201, "creations that work again")

    def reads_go_on(self, node, link, unknown="never-made"):
        self.assertEqual(node.follow(link["code"]), (302, URL))
        self.assertEqual(node.follow(unknown)[0], 404)
        self.assertEqual(node.link(link["code"])["url"], URL)
        self.assertIn(link["code"], [one["code"] for one in node.listed()])
        self.assertEqual(node.ask(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").status, 200)

    def holds(self, node, link, fault, repair):
        self.assertEqual(len(node.listed()), 1)
        made = {node.make(URL)["code"] for _ in range(50)}
        followed = follow_together(node, [link["code"]], 5)
        fault()
        self.refused(self.until_refused(node))
        for method, body in (("PATCH", {"url": URL + "y" * 8000}), ("DELETE", None)):
            status, _, problem = node.api(method, f"/v1/links/{link['code']}", body)
            self.assertIn(status, (503,), problem)
        self.reads_go_on(node, link)
        followed += 1 + follow_together(node, [link["code"]], 5)
        repair()
        self.until_made(node)
        self.reads_go_on(node, link)
        followed += 1
        until(lambda: node.link(link["code"])["clicks"] >= followed, "the clicks of the fault counted")
        self.assertEqual(node.link(link["code"])["clicks"], followed)
        self.assertLessEqual(made, {one["code"] for one in node.listed()})
        self.assertEqual(node.stop(), 0, node.errors_before)

    def test_a_full_disk_refuses_writes_and_nothing_else_until_there_is_room(self):
        if why := no_mounts():
            self.skipTest(why)
        with SmallDiskNode() as node:
            self.holds(node, node.make(URL), node.fill, node.make_room)

    def test_writes_that_all_fail_are_refused_and_nothing_else_until_they_work_again(self):
        # As on a disk that has turned read-only: with a size limit of nothing each write to a file fails, and each read works.
        node = LinksNode()
        node.command = ["sh", "-c", 'trap "" XFSZ && exec "$@"', "sh", *node.command]
        with node:
            self.holds(node, node.make(URL), lambda: self.limit_files(node, 0), lambda: self.limit_files(node, "unlimited"))

    def test_the_first_read_works_though_no_write_does(self):
        node = LinksNode()
        node.command = ["sh", "-c", 'trap "" XFSZ && exec "$@"', "sh", *node.command]
        with node:
            node.make(URL, alias="before")
            node.kill()
            node.start()
            self.limit_files(node, 0)
            self.refused(self.until_refused(node))
            self.assertEqual(node.follow("before"), (302, URL))
            self.assertEqual(node.follow("never-made")[0], 404)
            self.assertEqual(node.link("before")["url"], URL)

    def test_a_limit_on_file_sizes_does_not_end_the_node(self):
        with LinksNode() as node:
            link = node.make(URL)
            node.listed()
            self.limit_files(node, 0)
            self.refused(self.until_refused(node))
            self.reads_go_on(node, link)
            self.limit_files(node, "unlimited")
            self.until_made(node)

    def limit_files(self, node, size):
        """No write beyond `size` bytes into a file of the node."""
        if not shutil.which("prlimit"):
            self.skipTest("prlimit is not installed")
        subprocess.run(["prlimit", "--pid", str(node.pid), f"--fsize={size}:"], check=True)


@unittest.skipUnless(nodes.BINARY.exists(), f"{nodes.BINARY} is not built")
class Starting(unittest.TestCase):
    def refused(self, node):
        """What a start on this data folder says on its way out."""
        done = subprocess.run(node.command, cwd=node.folder, capture_output=True, text=True, timeout=nodes.PATIENCE)
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertNotIn("listening", done.stdout)
        return done.stderr

    def test_a_second_node_on_the_same_data_is_refused(self):
        with LinksNode() as node:
            link = node.make(URL)
            self.assertRegex(self.refused(node), r"data/trellis\.db\S*: another process uses this store")
            self.assertEqual(node.follow(link["code"]), (302, URL))
            node.make(URL)
            node.kill()
            node.start()
            self.assertEqual(node.follow(link["code"]), (302, URL))

    def test_data_of_a_newer_release_is_refused_and_left_alone(self):
        with LinksNode() as node:
            node.make(URL)
            node.stop()
            with sqlite3.connect(node.folder / "data/trellis.db") as db:
                db.execute("INSERT INTO schema_migrations(space, version, name, applied_at) VALUES('links', 999, 'future', 0)")
            db.close()
            self.assertRegex(self.refused(node), r"links\D+999\D+ is newer than this release knows")
            with sqlite3.connect(node.folder / "data/trellis.db") as db:
                self.assertEqual(db.execute("SELECT count(*) FROM links").fetchone(), (1,))
                db.execute("DELETE FROM schema_migrations WHERE version = 999")
            db.close()
            node.start()
            self.assertEqual(len(node.listed()), 1)

    def test_data_that_cannot_be_written_is_refused(self):
        if why := no_mounts():
            self.skipTest(why)
        with LinksNode() as node:
            node.make(URL)
            node.stop()
            plain = node.command
            read_only = 'mount --bind data data && mount -o remount,bind,ro data && exec "$@"'
            node.command = [*UNSHARE, "sh", "-c", read_only, "sh", *plain]
            self.assertRegex(self.refused(node), r"data/trellis\.db\S*: Read-only file system")
            node.command = plain
            node.start()
            self.assertEqual(len(node.listed()), 1)

    def test_a_start_on_a_full_disk_is_refused_and_says_why(self):
        if why := no_mounts():
            self.skipTest(why)
        with LinksNode() as node:
            node.make(URL)
            node.stop()
            plain = node.command
            full = ("mkdir full && mount -t tmpfs -o size=8m none full && cp -p data/* full/ && "
                    "{ dd if=/dev/zero of=full/filler bs=4k count=2048 2>/dev/null; mount --bind full data && exec \"$@\"; }")
            node.command = [*UNSHARE, "sh", "-c", full, "sh", *plain]
            self.assertRegex(self.refused(node), r"cannot start.*the store main could not write: .*disk is full")
            node.command = plain
            node.start()
            self.assertEqual(len(node.listed()), 1)

    def test_a_file_that_is_no_database_is_refused_and_left_alone(self):
        with LinksNode() as node:
            node.stop()
            for file in (node.folder / "data").iterdir():
                file.unlink()
            path = node.folder / "data/trellis.db"
            path.write_text("These are notes, not a database.\n" * 100)
            self.assertRegex(self.refused(node), r"trellis\.db")
            self.assertTrue(path.read_text().startswith("These are notes"))
            path.unlink()
            node.start()

    def test_a_folder_that_cannot_be_made_is_refused(self):
        with LinksNode() as node:
            node.stop()
            shutil.rmtree(node.folder / "data")
            (node.folder / "data").write_text("in the way")
            self.assertRegex(self.refused(node), r"data")
            (node.folder / "data").unlink()
            node.start()


if __name__ == "__main__":
    unittest.main(verbosity=2)
