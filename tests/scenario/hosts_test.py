"""Where the hosts of an upstream come from: names, services, files and the control API, on a real node."""
import contextlib
import json
import subprocess
import threading
import time

import node
from dns_server import DnsServer

GET = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"


class Named(node.RawServer):
    """An upstream whose answers are its name. `slow`: an Event that its answers wait for."""

    def __init__(self, name, address="127.0.0.1"):
        super().__init__(self._talk)
        self.name = name.encode()
        self.slow = None
        self.seen = 0

    def _talk(self, connection, number):
        reader = node.Reader(connection)
        while node.read_request(reader):
            self.seen += 1
            if self.slow:
                self.slow.wait(node.PATIENCE)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(self.name), self.name))


def config(hosts, dns=None, more=""):
    servers = f'dns: {{ servers: ["127.0.0.1:{dns.port}"] }}\n' if dns else ""
    return f"""
{servers}listeners:
  web: {{ bind: "127.0.0.1:0" }}
upstreams:
  app: {{ hosts: [{hosts}]{more} }}
routes:
  - {{ match: {{ path: /** }}, to: upstream.app }}
"""


def ask(box):
    return box.ask(GET, "web")


def who(box, count=12):
    """The names of those who answer."""
    answers = [ask(box) for _ in range(count)]
    assert all(answer.status == 200 for answer in answers), answers
    return {answer.body.decode() for answer in answers}


def listed(box):
    """What `ctl hosts --json` says of the only upstream."""
    done = box.ctl("hosts", "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)["upstreams"][0]


def names(box):
    return [host["host"] for host in listed(box)["hosts"]]


def host(box, name):
    return next(one for one in listed(box)["hosts"] if one["host"] == name)


def good(done):
    assert done.returncode == 0, done.stderr
    return done.stdout


def restart(box):
    """Stops the node and starts it again in the same folder."""
    box.process.terminate()
    box.process.wait(node.PATIENCE)
    box.process.stdout.close()
    box.log.close()
    box.control, box.listeners = None, {}
    box.__enter__()


# --- Names ---

def test_a_node_starts_with_a_name_that_does_not_resolve_and_takes_it_when_it_does(io):
    with DnsServer() as dns, Named("one") as one:
        with node.Node(config(f'{{ dns: "api.test:{one.port}" }}', dns), io=io) as box:
            assert ask(box).status == 503
            node.until(lambda: "api.test" in box.errors(), "the log, which is written behind")
            assert "no such name" in good(box.ctl("hosts"))
            dns.records["api.test"] = ["127.0.0.1"]
            node.until(lambda: ask(box).status == 200, "the name to resolve")
            assert names(box) == [f"api.test:{one.port}@127.0.0.1"]


def test_a_name_that_resolves_is_there_from_the_first_request():
    with DnsServer() as dns, Named("one") as one:
        dns.records["api.test"] = ["127.0.0.1"]
        with node.Node(config(f'"api.test:{one.port}"', dns)) as box:
            assert who(box, 1) == {"one"}


def test_addresses_of_a_name_are_followed_and_the_last_ones_stay_when_servers_fail():
    with DnsServer() as dns, Named("one") as one:
        dns.records["api.test"] = ["127.0.0.1", "127.0.0.2"]
        with node.Node(config(f'{{ dns: "api.test:{one.port}" }}', dns)) as box:
            assert len(names(box)) == 2
            dns.records["api.test"] = ["127.0.0.1"]
            node.until(lambda: len(names(box)) == 1, "the address to go")
            dns.failing = True
            asked = len(dns.asked)
            node.until(lambda: len(dns.asked) > asked + 12, "lookups that fail")
            assert who(box, 4) == {"one"}
            # However often it fails, it is said once.
            assert box.errors().count("a source of an upstream's hosts fails") == 1
            dns.failing = False
            node.until(lambda: "works again" in box.errors(), "the server to be heard again", seconds=60)


def test_a_silent_server_does_not_hold_the_start_up():
    with DnsServer() as dns, Named("one") as one:
        dns.silent = True
        hosts = f'{{ dns: "api.test:80" }}, "127.0.0.1:{one.port}"'
        with node.Node(config(hosts, dns)) as box:
            assert who(box, 4) == {"one"}


def test_services_give_ports_weights_and_backups():
    with DnsServer() as dns, Named("heavy") as heavy, Named("light") as light, Named("spare") as spare:
        dns.records["_http._tcp.api.test"] = [(1, 30, heavy.port, "a.test"), (1, 10, light.port, "b.test"),
                                              (2, 0, spare.port, "c.test")]
        for target in ("a.test", "b.test", "c.test"):
            dns.records[target] = ["127.0.0.1"]
        with node.Node(config('{ srv: _http._tcp.api.test }', dns, ", balance: weighted"), cores=1) as box:
            assert who(box, 40) == {"heavy", "light"}
            assert abs(heavy.seen - 30) <= 2 and heavy.seen + light.seen == 40
            assert host(box, f"c.test:{spare.port}@127.0.0.1")["backup"] is True


def test_services_of_three_priorities_take_over_in_their_order():
    with DnsServer() as dns, Named("first") as first, Named("second") as second, Named("third") as third:
        dns.records["_http._tcp.api.test"] = [(20, 0, third.port, "c.test"), (10, 0, second.port, "b.test"),
                                              (1, 0, first.port, "a.test")]
        for target in ("a.test", "b.test", "c.test"):
            dns.records[target] = ["127.0.0.1"]
        with node.Node(config('{ srv: _http._tcp.api.test }', dns)) as box:
            assert who(box, 6) == {"first"}
            good(box.ctl("hosts", "drain", "app", f"127.0.0.1:{first.port}"))
            assert who(box, 6) == {"second"}
            good(box.ctl("hosts", "drain", "app", f"127.0.0.1:{second.port}"))
            assert who(box, 6) == {"third"}
            good(box.ctl("hosts", "undrain", "app", f"127.0.0.1:{first.port}"))
            assert who(box, 6) == {"first"}


# --- Files ---

def test_a_file_is_followed_and_a_broken_one_keeps_the_last_list():
    with Named("one") as one, Named("two") as two:
        with node.Node(config("{ file: hosts.txt }")) as box:
            path = box.folder / "hosts.txt"

            def write(text):
                fresh = path.with_suffix(".new")
                fresh.write_text(text)
                fresh.replace(path)

            assert ask(box).status == 503  # no file yet
            write(f"# the first\n{one.host} weight=3\n")
            node.until(lambda: ask(box).status == 200, "the file to be read")
            assert who(box) == {"one"} and host(box, one.host)["weight"] == 3
            write(f"{one.host}\n{two.host} zone=eu\n")
            node.until(lambda: who(box) == {"one", "two"}, "the second host")
            write(f"{two.host}\n{one.host} wieght=3\n")
            node.until(lambda: 'hosts.txt:2: unknown word \\"wieght=3\\"' in box.errors(), "the complaint")
            assert who(box) == {"one", "two"}
            path.write_text(f"{two.host}\n")  # in place
            node.until(lambda: who(box) == {"two"}, "the mended file")


def test_the_figures_of_hosts_that_left_are_not_kept(io):
    def talk(connection, _):
        reader = node.Reader(connection)
        while node.read_request(reader):
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(node.RawServer(talk)) for _ in range(6)]
        more = ", health: { kind: tcp, interval: 1s }"
        with node.Node(config("{ file: hosts.txt }", more=more), io=io) as box:
            def told(server):
                return any(server.host in sample for sample in box.metrics())

            for server in servers:
                fresh = box.folder / "hosts.new"
                fresh.write_text(server.host + "\n")
                fresh.replace(box.folder / "hosts.txt")
                node.until(lambda: names(box) == [server.host], "the host", seconds=3 * node.PATIENCE)
                node.until(lambda: all(ask(box).status == 200 for _ in range(8)), "answers")  # on both cores
                assert told(server)
            # Though no request comes that would tell the cores: this asks the control port only.
            node.until(lambda: not any(told(server) for server in servers[:-1]), "the others' figures to go")
            assert told(servers[-1])


# --- Zones ---

def test_the_nodes_own_zone_serves_while_enough_of_it_is_up():
    with Named("one") as one, Named("two") as two, Named("far") as far:
        hosts = f'{{ address: "{one.host}", zone: eu }}, {{ address: "{two.host}", zone: eu }}, {{ address: "{far.host}", zone: us }}'
        with node.Node(config(hosts, more=", zone: eu")) as box:
            assert who(box, 12) == {"one", "two"}
            told = good(box.ctl("explain", "http://%s:%d/" % box.address("web")))
            assert "2 to choose from, behind them 1; in zone eu" in told, told
            good(box.ctl("hosts", "weight", "app", two.host, "0"))
            assert who(box, 6) == {"one"}  # taken out by hand: the others are all that the zone has
            box.write_config(config(hosts, more=", zone: us"))
            box.reload()
            assert who(box, 6) == {"far"}
            box.write_config(config(hosts))
            box.reload()
            assert who(box, 12) == {"one", "far"}


# --- Changes at run time ---

def test_hosts_are_added_removed_and_kept_over_a_restart():
    with Named("one") as one, Named("two") as two, Named("three") as three:
        with node.Node(config(f'"{one.host}", "{two.host}"')) as box:
            assert who(box) == {"one", "two"}
            good(box.ctl("hosts", "add", "app", three.host, "--weight", "2", "--zone", "eu"))
            good(box.ctl("hosts", "remove", "app", two.host))
            assert who(box) == {"one", "three"}
            assert f"{two.host} was removed" in good(box.ctl("hosts", "app"))
            restart(box)
            assert who(box) == {"one", "three"}
            added = host(box, three.host)
            assert (added["weight"], added["zone"], added["origin"]) == (2, "eu", "control")
            good(box.ctl("hosts", "add", "app", two.host))  # undoes the removal
            good(box.ctl("hosts", "remove", "app", three.host))
            assert who(box) == {"one", "two"}
            restart(box)
            assert who(box) == {"one", "two"}


def test_an_added_host_stands_behind_by_its_priority_over_a_restart():
    with Named("one") as one, Named("two") as two, Named("three") as three:
        with node.Node(config(f'"{one.host}", {{ address: "{two.host}", priority: 2 }}')) as box:
            good(box.ctl("hosts", "add", "app", three.host, "--priority", "1"))
            restart(box)
            assert host(box, three.host)["priority"] == 1
            assert who(box, 6) == {"one"}
            good(box.ctl("hosts", "drain", "app", one.host))
            assert who(box, 6) == {"three"}
            good(box.ctl("hosts", "remove", "app", three.host))
            assert who(box, 6) == {"two"}
            assert box.ctl("hosts", "add", "app", three.host, "--priority", "101").returncode == 2


def test_a_drained_host_finishes_its_requests_and_gets_no_new_ones(io):
    with Named("one") as one, Named("two") as two:
        with node.Node(config(f'"{one.host}", "{two.host}"'), io=io) as box:
            one.slow = threading.Event()
            clients = [node.Client(box.address()) for _ in range(8)]
            for client in clients:
                client.send(GET)
            node.until(lambda: host(box, one.host)["active"] > 0, "a request under way")
            assert host(box, one.host)["state"] == "up"
            good(box.ctl("drain", "app", one.host))
            assert host(box, one.host)["state"] == "draining"
            under_way = one.seen
            assert who(box) == {"two"} and one.seen == under_way
            one.slow.set()
            answers = [client.answer() for client in clients]
            assert {answer.body for answer in answers} == {b"one", b"two"}
            for client in clients:
                client.close()
            restart(box)
            assert who(box) == {"two"}
            good(box.ctl("hosts", "undrain", "app", one.host))
            assert who(box) == {"one", "two"}


def test_weights_change_the_shares():
    with Named("one") as one, Named("two") as two:
        with node.Node(config(f'"{one.host}", "{two.host}"', more=", balance: weighted"), cores=1) as box:
            good(box.ctl("weight", "app", one.host, "3"))
            one.seen = two.seen = 0
            who(box, 40)
            assert abs(one.seen - 30) <= 2 and one.seen + two.seen == 40
            good(box.ctl("hosts", "weight", "app", two.host, "0"))
            assert who(box) == {"one"}
            assert host(box, two.host)["state"] == "off"


def test_no_request_fails_while_hosts_come_and_go():
    with Named("one") as one, Named("two") as two:
        with node.Node(config(f'"{one.host}"')) as box:
            failures, stopping = [], threading.Event()

            def load():
                with node.Client(box.address()) as client:
                    while not stopping.is_set():
                        client.send(GET)
                        answer = client.answer()
                        if answer.status != 200:
                            failures.append(answer)
                        time.sleep(0.002)  # an even load, so that others get the processors too

            threads = [threading.Thread(target=load) for _ in range(8)]
            for thread in threads:
                thread.start()
            for _ in range(5):
                good(box.ctl("hosts", "add", "app", two.host))
                seen = two.seen
                node.until(lambda: two.seen > seen, "requests for the new host")
                good(box.ctl("drain", "app", one.host))
                good(box.ctl("drain", "app", one.host, "--undo"))
                good(box.ctl("hosts", "remove", "app", two.host))
            stopping.set()
            for thread in threads:
                thread.join()
            assert not failures


def test_changes_outlive_a_reload_and_are_kept_for_an_upstream_that_is_gone():
    with Named("one") as one, Named("two") as two:
        with node.Node(config(f'"{one.host}"')) as box:
            good(box.ctl("hosts", "add", "app", two.host))
            box.write_config(config(f'"{one.host}"', more=", slow_start: 0s, limits: { connections: 7 }"))
            box.reload()
            assert who(box) == {"one", "two"}
            box.write_config(config(f'"{one.host}"').replace("app", "other"))
            box.reload()
            assert who(box) == {"one"}
            assert box.ctl("hosts", "app").returncode == 1
            restart(box)
            box.write_config(config(f'"{one.host}"'))
            box.reload()
            assert who(box) == {"one", "two"}


def test_what_cannot_be_done_is_said():
    with Named("one") as one:
        with node.Node(config(f'"{one.host}"')) as box:
            for words, why in ((("hosts", "nine"), 'no upstream "nine"'),
                               (("hosts", "remove", "app", "10.9.9.9:1"), "no host"),
                               (("hosts", "add", "app", one.host), "already"),
                               (("hosts", "add", "app", "10.9.9.9"), "HOST:PORT"),
                               (("drain", "app", "10.9.9.9:1"), "no host")):
                done = box.ctl(*words)
                assert done.returncode == 1 and why in done.stderr, (words, done)
            assert box.ctl("weight", "app", one.host, "1001").returncode == 2
            assert names(box) == [one.host]
            answer = box.ask(b"PUT /v1/upstreams/app/hosts HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n")
            assert answer.status == 405 and answer.get(b"allow") == b"GET, POST, DELETE, PATCH"
            for change in (b"POST /v1/upstreams/app/hosts?host=10.9.9.9:1&wieght=5", b"DELETE /v1/upstreams/app/hosts?hots=a&host=" + one.host.encode(),
                           b"PATCH /v1/upstreams/app/hosts?weight=2&zone=eu&host=" + one.host.encode()):
                answer = box.ask(change + b" HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n")
                assert answer.status == 400 and b"there is no parameter" in answer.body, (change, answer)
            assert names(box) == [one.host]


def test_a_change_that_cannot_be_written_is_not_made():
    with Named("one") as one:
        with node.Node(config(f'"{one.host}"'), sets=("state=/proc/state",)) as box:
            done = box.ctl("hosts", "add", "app", "127.0.0.1:1")
            assert done.returncode == 1 and "/proc/state" in done.stderr
            assert names(box) == [one.host]


def test_a_broken_state_file_is_refused_with_its_name():
    with Named("one") as one:
        with node.Node(config(f'"{one.host}"')) as box:
            good(box.ctl("hosts", "drain", "app", one.host))
            path = box.folder / "data/state/hosts.json"
            path.write_text(path.read_text()[:-20])
            box.process.terminate()
            box.process.wait(node.PATIENCE)
            done = subprocess.run(box.command, cwd=box.folder, capture_output=True, text=True, timeout=node.PATIENCE)
            assert done.returncode == 1
            assert "data/state/hosts.json" in done.stderr and "move it away" in done.stderr
