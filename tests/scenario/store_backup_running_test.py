"""Copies of a store while its node works: `trellis store backup --running` and the control API behind it."""
import json
import subprocess
import threading

import pytest

from links_node import LinksNode
from node import PATIENCE, Client, until

URL = "https://example.com/"


def backup(node, *words):
    return subprocess.run([node.command[0], "store", "backup", *words, "--running", "--control", "%s:%d" % node.control],
                          capture_output=True, text=True, timeout=PATIENCE, cwd=node.folder)


def control(node, method, target, more=""):
    with Client(node.control) as client:
        client.send(f"{method} {target} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n{more}\r\n".encode())
        answer = client.answer(method.encode())
        return answer.status, json.loads(answer.body)


@pytest.fixture(scope="module")
def node():
    with LinksNode() as one:
        yield one


def test_a_copy_made_under_load_holds_what_was_there_and_can_be_restored():
    with LinksNode() as node:
        before = [node.make(f"{URL}{number}")["code"] for number in range(50)]
        stop = threading.Event()

        def create():
            with node.client() as client:
                number = 0
                while not stop.is_set():
                    node.make(f"{URL}more/{number}", client=client)
                    number += 1

        writer = threading.Thread(target=create)
        writer.start()
        try:
            done = backup(node, "main", "monday.db")
        finally:
            stop.set()
            writer.join()
        assert done.returncode == 0, done.stderr
        assert "data/backups/monday.db" in done.stdout
        copy = node.folder / "data/backups/monday.db"
        assert copy.stat().st_mode & 0o777 == 0o600
        assert not copy.with_suffix(".db.part").exists()
        node.stop()
        checked = subprocess.run([node.command[0], "store", "restore", "main", str(copy), "--force", "--config",
                                  str(node.config_path)], capture_output=True, text=True, cwd=node.folder)
        assert checked.returncode == 0, checked.stderr
        node.start()
        assert all(node.follow(code)[0] == 302 for code in before)


def test_a_copy_is_not_replaced_unless_told(node):
    assert backup(node, "main", "twice.db").returncode == 0
    again = backup(node, "main", "twice.db")
    assert again.returncode == 1 and "--force" in again.stderr
    assert backup(node, "main", "twice.db", "--force").returncode == 0


def test_a_name_is_no_path(node):
    for name in ("../trellis.db", "/etc/passwd", "a/b", ".hidden", "", "x" * 65):
        status, problem = control(node, "POST", "/v1/store/backup?name=" + name.replace("/", "%2F"))
        assert status == 400, (name, problem)
    wrong = backup(node, "main", "../out.db")
    assert wrong.returncode == 1 and "without a dot in front" in wrong.stderr
    assert sorted(path.name for path in node.folder.glob("*.db")) == []


def test_what_is_wrong_is_told(node):
    unknown = backup(node, "mian", "x.db")
    assert unknown.returncode == 1 and "there are: main" in unknown.stderr
    assert control(node, "POST", "/v1/store/backup?name=x.db", "Origin: http://evil.test\r\n")[0] == 403
    assert control(node, "GET", "/v1/store/backup?name=x.db")[0] == 405
    offline = subprocess.run([node.command[0], "store", "backup", "main", "x.db", "--config", str(node.config_path)],
                             capture_output=True, text=True, cwd=node.folder)
    assert offline.returncode == 1 and "--running" in offline.stderr


def test_the_state_tells_how_it_ended(node):
    assert control(node, "POST", "/v1/store/backup?name=state.db&force=true")[0] == 202
    until(lambda: control(node, "GET", "/v1/store/backup/state")[1]["state"] == "done", "the copy to be done")
    state = control(node, "GET", "/v1/store/backup/state")[1]
    assert state["done_bytes"] == state["total_bytes"] > 0 and state["file"].endswith("backups/state.db")
