#!/usr/bin/env python3
"""Two edges as a pair, with the files of deploy/pair as they are: network namespaces on a bridge, real keepalived, and clients
in a third namespace that ask the virtual address and repeat nothing.

    python3 -m pytest tests/scenario/pair_test.py
"""
import contextlib
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import node  # noqa: E402

DEPLOY = node.ROOT / "deploy/pair"
ADDRESS = "192.0.2.10"  # as in keepalived.conf, and so are the edges' own
OWN = {"a": "192.0.2.11", "b": "192.0.2.12", "client": "192.0.2.13"}
LIMIT = 4.0       # seconds within which the address has to move
PATIENCE = 90.0   # for what has to happen at all, on however busy a machine
CONFIG = """
node: edge-{edge}
control: 127.0.0.1:9900
runtime: {{ cores: 1, drain: 60s }}
listeners: {{ web: {{ bind: "0.0.0.0:80" }} }}
upstreams: {{ slow: {{ hosts: ["{client}:8000"] }} }}
observe: {{ access_log: {{ path: ./access-{edge}.log }} }}
routes:
  - match: {{ path: /long }}
    filters: [ rewrite: {{ add_prefix: /{edge} }} ]
    to: upstream.slow
  - match: {{ path: /** }}
    to: {{ fixed: {{ status: 200, body: "{edge}" }} }}
"""


def missing():
    """What is not to be had here, or nothing."""
    if os.geteuid() != 0:
        return "root"
    for program in ("keepalived", "nft", "ip", "ss", "curl", "bash", "hostname", "unshare", "nsenter"):
        if not shutil.which(program):
            return program
    probe = ("mount -t tmpfs none /run && ip link add probe-a type veth peer name probe-b && ip link add probe type bridge"
             " && nft add table ip probe")
    done = subprocess.run(["unshare", "--net", "--mount", "sh", "-c", probe], capture_output=True, text=True)
    return f"network namespaces ({done.stderr.strip()})" if done.returncode != 0 else None


class Place:
    """A machine as far as the network is concerned: namespaces for network, mounts and host name."""

    def __init__(self, name, within=None):
        self.name = name
        self.enter = ["nsenter", "--net", "--mount", "--uts", "--target"]
        script = ("set -e; mount -t tmpfs none /run; mount -t tmpfs -o mode=755 none /usr/local/sbin; ip link set lo up;"
                  f"hostname edge-{name}; echo made; exec cat")
        inside = [] if within is None else within.inside()
        self.holder = subprocess.Popen([*inside, "unshare", "--net", "--mount", "--uts", "sh", "-c", script],
                                       stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.holder.stdout.readline() == "made\n"

    def inside(self):
        return [*self.enter, str(self.holder.pid)]

    def run(self, *command):
        done = subprocess.run([*self.inside(), *command], capture_output=True, text=True, timeout=PATIENCE)
        assert done.returncode == 0, f"{command}: {done.stdout} {done.stderr}"
        return done.stdout

    def start(self, *command, **options):
        return subprocess.Popen([*self.inside(), *command], **options)

    def end(self):
        self.holder.stdin.close()
        self.holder.stdout.close()
        self.holder.wait()


class Edge(Place):
    def __init__(self, name, folder, switch):
        super().__init__(name, switch)
        self.folder = folder
        self.config = folder / f"{name}.yaml"
        self.config.write_text(CONFIG.format(edge=name, client=OWN["client"]))
        self.node = self.keepalived = None
        # As the installation of keepalived.conf says.
        self.run("install", "-m", "755", str(DEPLOY / "trellis-pair"), "/usr/local/sbin/")
        self.run("mount", "--bind", str(DEPLOY), "/etc/keepalived")

    def start_node(self):
        self.node = self.start(str(node.BINARY), "run", str(self.config), cwd=self.folder, stdout=subprocess.DEVNULL,
                               stderr=open(self.folder / f"{self.name}.log", "ab"))
        node.until(lambda: self.status()["ready"] == "yes", f"node {self.name}", PATIENCE)

    def stop_node(self, number):
        self.node.send_signal(number)
        return self.node.wait(PATIENCE)

    def start_keepalived(self):
        self.run("trellis-pair", "prepare")
        self.keepalived = self.start("keepalived", "--vrrp", "--dont-fork", "--log-console", stdout=subprocess.DEVNULL,
                                     stderr=open(self.folder / f"keepalived-{self.name}.log", "wb"))

    def said(self):
        return (self.folder / f"keepalived-{self.name}.log").read_text(errors="replace")

    def status(self):
        """What `trellis-pair status` says: {'ready': 'yes'}."""
        return dict(line.rsplit(maxsplit=1) for line in self.run("trellis-pair", "status").splitlines())

    def holds(self):
        return ADDRESS in self.run("ip", "-4", "-o", "address", "show", "dev", "eth0")

    def end(self):
        if self.keepalived:
            self.keepalived.terminate()
            self.keepalived.wait(PATIENCE)
        if self.node:
            self.node.kill()
            self.node.wait()
        super().end()


class Clients:
    """pair_client.py, and what it has written."""

    def __init__(self, place, folder):
        self.path = folder / "clients.log"
        self.errors = folder / "clients.err"
        self.process = place.start(sys.executable, str(pathlib.Path(__file__).with_name("pair_client.py")), ADDRESS, OWN["client"],
                                   stdin=subprocess.PIPE, stdout=open(self.path, "wb"), stderr=open(self.errors, "wb"))

    def asked(self, kind=""):
        lines = self.path.read_text().splitlines(keepends=True)
        return [one for one in (json.loads(line) for line in lines if line.endswith("\n")) if one["worker"].startswith(kind)]

    def answered_by(self, edge, kind, since=0.0):
        """The workers of a kind that this edge has answered since then."""
        return {one["worker"] for one in self.asked(kind) if one["edge"] == edge and one["begun"] > since}

    def now(self):
        return max(one["at"] for one in self.asked())

    def finish(self):
        """Lets them end what they ask for. Gives what failed."""
        self.process.stdin.close()
        assert self.process.wait(PATIENCE) == 0 and self.errors.read_text() == ""
        return [one for one in self.asked() if one["error"]]

    def end(self):
        self.process.kill()
        self.process.wait()


class Pair:
    """A switch, two edges, clients. At the start edge a holds the address."""

    def __init__(self, folder, ends):
        """`ends` (an ExitStack) ends what was begun, whatever fails."""
        self.ends = ends
        self.switch = self.place(Place("switch"))
        self.switch.run("ip", "link", "add", "bridge", "type", "bridge")
        self.switch.run("ip", "link", "set", "bridge", "up")
        self.client = self.place(Place("client", self.switch))
        self.a = self.place(Edge("a", folder, self.switch))
        self.b = self.place(Edge("b", folder, self.switch))
        for place in (self.client, self.a, self.b):
            port = f"port-{place.name}"
            self.switch.run("ip", "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", str(place.holder.pid))
            self.switch.run("ip", "link", "set", port, "master", "bridge", "up")
            place.run("ip", "address", "add", f"{OWN[place.name]}/24", "dev", "eth0")
            place.run("ip", "link", "set", "eth0", "up")
        for edge in (self.a, self.b):
            edge.start_node()
            edge.start_keepalived()
            if edge is self.a:
                node.until(self.a.holds, "edge a takes the address", PATIENCE)
        node.until(lambda: "BACKUP STATE" in self.b.said() and "ready) succeeded" in self.b.said(), "edge b stands by", PATIENCE)
        self.clients = Clients(self.client, folder)
        ends.callback(self.clients.end)
        for kind in ("kept", "fresh", "long"):
            node.until(lambda: len(self.clients.answered_by("a", kind)) >= 3, f"answers for {kind}", PATIENCE)

    def place(self, one):
        self.ends.callback(one.end)
        return one

    def until_answered_by(self, edge, kind, count):
        since = self.clients.now()
        node.until(lambda: len(self.clients.answered_by(edge, kind, since)) == count, f"edge {edge} answers {kind}", PATIENCE)

    def cut(self, edge):
        """Its cable, so to speak."""
        self.switch.run("ip", "link", "set", f"port-{edge.name}", "down")


@pytest.fixture
def pair(tmp_path):
    lacking = missing()
    if lacking:
        pytest.skip(f"not to be had here: {lacking}")
    with contextlib.ExitStack() as ends:
        yield Pair(tmp_path, ends)


def longest_gap(asked):
    """Between two answers in a row, whoever got them, in seconds."""
    times = sorted(one["at"] for one in asked if one["edge"])
    return max(later - earlier for earlier, later in zip(times, times[1:]))


def test_the_address_moves_when_the_node_of_the_holder_is_killed(pair):
    pair.a.stop_node(signal.SIGKILL)
    pair.until_answered_by("b", "fresh", 4)
    pair.until_answered_by("b", "kept", 4)
    assert pair.b.holds() and not pair.a.holds()
    assert longest_gap(pair.clients.asked("fresh")) < LIMIT
    # Neither is ready now: the holder stays, and the other takes over once it is back.
    pair.b.stop_node(signal.SIGKILL)
    node.until(lambda: "from 150 to 50" in pair.b.said(), "edge b is found sick", PATIENCE)
    assert pair.b.holds() and not pair.a.holds()
    pair.a.start_node()
    pair.until_answered_by("a", "fresh", 4)
    assert pair.a.holds() and not pair.b.holds()


def test_the_address_moves_when_the_machine_of_the_holder_is_gone(pair):
    pair.cut(pair.a)
    pair.until_answered_by("b", "fresh", 4)
    pair.until_answered_by("b", "kept", 4)
    assert longest_gap(pair.clients.asked("fresh")) < LIMIT


def test_a_planned_switchover_loses_nothing(pair):
    for leaving, taking in ((pair.a, pair.b), (pair.b, pair.a)):
        # Long answers are under way, and connections are kept.
        said = leaving.run("trellis-pair", "leave")
        assert f"holds {ADDRESS}" in said
        assert taking.holds() and not leaving.holds()
        pair.until_answered_by(taking.name, "fresh", 4)
        # Who was connected before is served by the edge that has the connection.
        pair.until_answered_by(leaving.name, "kept", 4)
        pair.until_answered_by(leaving.name, "long", 3)
        # Its node stops: connections that are kept hear of it, long answers end.
        assert leaving.stop_node(signal.SIGTERM) == 0
        pair.until_answered_by(taking.name, "kept", 4)
        pair.until_answered_by(taking.name, "long", 3)
        # Back from its maintenance, it stands by.
        leaving.start_node()
        leaving.run("trellis-pair", "join")
        node.until(lambda: leaving.said().count("ready) succeeded") >= 2, "it is found ready again", PATIENCE)
        assert taking.holds() and not leaving.holds()
    assert pair.clients.finish() == []


def test_who_has_left_does_not_come_back_for_a_check_that_failed(pair):
    pair.a.run("trellis-pair", "leave")
    pair.until_answered_by("b", "fresh", 4)
    # Edge b answers its clients as before, only its check hears nothing for a while.
    pair.b.run("nft", "add table ip deaf; add chain ip deaf in { type filter hook input priority 0; };"
                      " add rule ip deaf in iifname lo tcp dport 9900 drop")
    node.until(lambda: "from 150 to 50" in pair.b.said(), "edge b is found sick", PATIENCE)
    pair.b.run("nft", "delete", "table", "ip", "deaf")
    # Three good checks later: time for edge a to take the address several times over.
    node.until(lambda: "from 50 to 150" in pair.b.said(), "edge b is found well", PATIENCE)
    assert pair.a.said().count("Entering MASTER STATE") == 1
    assert pair.b.holds() and not pair.a.holds()
    assert pair.a.stop_node(signal.SIGTERM) == 0
    pair.until_answered_by("b", "kept", 4)
    assert pair.clients.finish() == []


def test_connections_of_who_has_left_outlive_the_node_of_the_holder(pair):
    pair.a.run("trellis-pair", "leave")
    pair.until_answered_by("b", "fresh", 4)
    pair.b.stop_node(signal.SIGKILL)
    node.until(lambda: "from 150 to 50" in pair.b.said(), "edge b is found sick", PATIENCE)
    pair.until_answered_by("a", "kept", 4)
    pair.until_answered_by("a", "long", 3)
    assert pair.b.holds()
    failed = pair.clients.finish()
    assert failed and {one["worker"].split("-")[0] for one in failed} == {"fresh"}, failed


def test_an_edge_that_left_takes_the_address_when_the_other_is_gone(pair):
    pair.a.run("trellis-pair", "leave")
    pair.until_answered_by("b", "fresh", 4)
    pair.cut(pair.b)
    pair.until_answered_by("a", "fresh", 4)
    assert longest_gap(pair.clients.asked("fresh")) < LIMIT


def test_an_edge_stays_when_the_other_is_not_ready(pair):
    pair.b.stop_node(signal.SIGKILL)
    node.until(lambda: "from 150 to 50" in pair.b.said(), "edge b is found sick", PATIENCE)
    done = subprocess.run([*pair.a.inside(), "trellis-pair", "leave"], capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 1 and "did not take" in done.stderr, done
    assert pair.a.holds()
    status = pair.a.status()
    assert (status["holds it"], status["leaving"]) == ("yes", "no"), status
    assert pair.clients.finish() == []
