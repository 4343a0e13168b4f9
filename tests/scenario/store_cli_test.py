"""`trellis store` on the files of a node that is stopped: names that are no files, damage, files that lie elsewhere."""
import json
import os
import subprocess

import pytest

from links_node import LinksNode
from node import PATIENCE, until

URL = "https://example.com/"


def store(node, *words):
    return subprocess.run([node.command[0], "store", *words, "--config", str(node.config_path)], capture_output=True,
                          text=True, timeout=PATIENCE, cwd=node.folder)


@pytest.fixture(scope="module")
def stopped():
    with LinksNode() as node:
        for number in range(20):
            node.make(f"{URL}{number}")
        node.stop()
        assert store(node, "backup", "main", "copy.db").returncode == 0
        yield node
        node.start()


@pytest.mark.parametrize("name", ["x" * 300, "missing.db", ".", "pipe"])
@pytest.mark.parametrize("verb", ["check", "restore"])
def test_what_is_no_file_is_told(stopped, verb, name):
    if name == "pipe" and not (stopped.folder / "pipe").exists():
        os.mkfifo(stopped.folder / "pipe")
    done = store(stopped, verb, "main", name, *(["--force"] if verb == "restore" else []))
    assert done.returncode == 1, done
    assert done.stderr.startswith("trellis: ") and len(done.stderr.splitlines()) == 1, done.stderr


@pytest.mark.parametrize("name", ["", ".", "data", "pipe", "data/trellis.db", "data/trellis.db-wal", "data/trellis.db.lock"])
def test_a_copy_takes_the_place_of_no_other_thing(stopped, name):
    if name == "pipe" and not (stopped.folder / "pipe").exists():
        os.mkfifo(stopped.folder / "pipe")
    done = store(stopped, "backup", "main", name, "--force")
    assert done.returncode == 1, done
    assert store(stopped, "check", "main").returncode == 0


def test_a_file_that_is_no_store_or_lacks_its_end_fails_the_check(stopped):
    whole = (stopped.folder / "copy.db").read_bytes()
    for name, content, verdict in (("empty.db", b"", "NO STORE"), ("cut.db", whole[:-1], "DAMAGED")):
        (stopped.folder / name).write_bytes(content)
        done = store(stopped, "check", "main", name)
        assert done.returncode == 1 and verdict in done.stdout, done
        told = json.loads(store(stopped, "check", "main", name, "--json").stdout)
        assert told["ok"] is False and told["problems"], told
        assert store(stopped, "restore", "main", name, "--force").returncode == 1
    assert store(stopped, "check", "main", "copy.db").returncode == 0


def test_a_link_to_the_file_is_the_same_store():
    with LinksNode() as node:
        code = node.make(URL)["code"]
        node.stop()
        (node.folder / "disk").mkdir()
        for file in (node.folder / "data").iterdir():
            if file.is_file():
                file.rename(node.folder / "disk" / file.name)
        (node.folder / "data/trellis.db").symlink_to("../disk/trellis.db")
        node.start()
        assert node.follow(code)[0] == 302
        node.write_config(node.config_path.read_text().replace("./data/", "./disk/"))
        done = store(node, "check", "main")
        assert done.returncode == 1 and "another process uses this store" in done.stderr, done
        assert "--running" in done.stderr


def test_nothing_is_acknowledged_to_a_file_that_was_replaced():
    with LinksNode() as node:
        kept = node.make(URL)["code"]
        data = node.folder / "data/trellis.db"
        data.rename(node.folder / "moved.db")
        status, _, problem = node.api("POST", "/v1/links", {"url": URL})
        assert (status, problem["temporary"]) == (503, True)
        assert node.follow(kept)[0] == 302
        assert not data.exists()
        (node.folder / "moved.db").rename(data)
        until(lambda: node.api("POST", "/v1/links", {"url": URL})[0] == 201, "writes to go on")
        assert "was moved away or replaced" in node.errors()
