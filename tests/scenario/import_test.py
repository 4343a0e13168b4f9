"""`trellis import`: each file of tests/scenario/fixtures/nginx and fixtures/haproxy is imported, the result is good to
`trellis check`, and for those that can run here the real server and Trellis run the same file beside each other and are
asked the same: same status, same body, same place of a redirect.
"""
import contextlib
import http.server
import json
import pathlib
import re
import shutil
import socket
import subprocess
import threading
import urllib.parse

import pytest

from dns_server import DnsServer
from node import BINARY, PATIENCE, Client, Node, until

FIXTURES = pathlib.Path(__file__).resolve().parent / "fixtures"
NGINX = shutil.which("nginx") or "/usr/sbin/nginx"
HAPROXY = shutil.which("haproxy") or "/usr/sbin/haproxy"
needs_haproxy = pytest.mark.skipif(not pathlib.Path(HAPROXY).exists(), reason="HAProxy is not installed")
needs_nginx = pytest.mark.skipif(not pathlib.Path(NGINX).exists(), reason="nginx is not installed")

FILES = {
    "assets/app.js": "let a = 1;\n", "images/cat.txt": "a cat", "index.html": "<p>home", "docs/index.html": "<p>docs",
    "docs/a.txt": "a", "static/s.txt": "static", "spa/index.html": "<p>spa", "spa/app.js": "spa();",
    "assets/.hidden": "never",
}


def free_ports(count):
    """Ports that nobody had a moment ago; nginx cannot be given port 0."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


class Backend(http.server.ThreadingHTTPServer):
    """Answers with its name, the path and a few fields that it heard."""
    daemon_threads = True

    def __init__(self, name):
        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                length = int(self.headers.get("content-length", 0))
                body = self.rfile.read(length)
                heard = {key: self.headers.get(key) for key in ("host", "x-real-ip", "x-edge")}
                text = json.dumps({"path": self.path, "heard": heard, "body": len(body)}).encode()
                self.send_response(200)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(text)))
                self.send_header("x-secret", "internal")
                self.send_header("x-backend", name)
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(text)

            do_POST = do_HEAD = do_DELETE = do_GET

            def log_message(self, *_):
                pass

        super().__init__(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.serve_forever, daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.shutdown()
        self.server_close()

    @property
    def address(self):
        return "127.0.0.1:%d" % self.server_address[1]


def lay_out(folder, **values):
    """The fixtures in `folder`, their @NAMES@ replaced; without values everything is something that could be real."""
    values = {"WEB": "127.0.0.1:8080", "INNER": "8081", "APP1": "127.0.0.1:9001", "APP2": "127.0.0.1:9002", "TMP": "/tmp",
              "PORT1": "9001", "DNS": "10.0.0.53", "WWW": "/srv/www", **values}
    for path in [*FIXTURES.glob("nginx/**/*"), *FIXTURES.glob("haproxy/*")]:
        if path.is_file():
            target = folder / path.relative_to(FIXTURES).relative_to(path.relative_to(FIXTURES).parts[0])
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(re.sub("@([A-Z0-9]+)@", lambda found: values[found[1]], path.read_text()))


def run_import(path, *more):
    return subprocess.run([str(BINARY), "import", str(path), *more], capture_output=True, text=True, timeout=PATIENCE)


def check(path):
    return subprocess.run([str(BINARY), "check", str(path)], capture_output=True, text=True, timeout=PATIENCE)


@pytest.mark.parametrize("name", sorted(path.name for kind in ("nginx/*.conf", "haproxy/*.cfg") for path in FIXTURES.glob(kind)))
def test_every_import_is_good_to_check(tmp_path, name):
    lay_out(tmp_path)
    out = tmp_path / "edge.yaml"
    done = run_import(tmp_path / name, "-o", str(out), "--json", str(tmp_path / "report.json"))
    assert done.returncode == 0, done.stderr
    checked = check(out)
    assert checked.returncode == 0, checked.stderr + out.read_text()
    # What was told on standard error stands at the top of the file and in the report, each with its line.
    report = json.loads((tmp_path / "report.json").read_text())
    top = out.read_text().split("\nlisteners:")[0]
    for remark in report["remarks"]:
        place = f"{remark['file']}:{remark['line']}"
        assert place in done.stderr and place in top
        assert remark["directive"] in pathlib.Path(remark["file"]).read_text() or " " in remark["directive"]
    strict = run_import(tmp_path / name, "--strict")
    assert strict.returncode == (1 if report["left_out"] else 0)
    assert strict.stdout == out.read_text()


def test_what_is_left_out_is_told(tmp_path):
    lay_out(tmp_path)
    done = run_import(tmp_path / "php.conf")
    told = done.stderr
    for what in ("fastcgi_pass", "auth_basic", "proxy_cache", "limit_req", "autoindex", "server_name ~^", "https://",
                 r"\.(js|css|png|jpg|jpeg|gif|ico)$", "unix:/run/app.sock", "content_by_lua_block"):
        assert what in told, what
    # Nothing that a program runs, or that a password guards, is served by another route.
    routes = done.stdout.split("\nroutes:")[1]
    assert "files:" not in routes
    for guarded in ("/admin/**", "/wp-login.php", "/**"):
        at = routes.index(f'path: "{guarded}"' if "*" in guarded else f"path: {guarded}")
        assert "status: 501" in routes[at:].split("- match:")[0], guarded


def test_tls_is_taken_on_loopback_only(tmp_path):
    lay_out(tmp_path)
    done = run_import(tmp_path / "tls.conf")
    assert "listen 443 ssl" in done.stderr and "ssl_protocols" in done.stderr
    assert 'bind: "127.0.0.1:8443"' in done.stdout
    assert "0.0.0.0:443" not in done.stdout and "0.0.0.0:8443" not in done.stdout
    assert 'X-Forwarded-Proto: https' in done.stdout


@pytest.mark.parametrize("text, where", [
    ("http { server { listen 80; }", ":1:"), ("events { } }", ":1:"), ("http {\n server {\n listen 80\n } }", ":4:"),
    ("http { server { return 200 \"x; } }", ":1:"), ("", ""), ("events { }", ""), ("include a.conf;", ""),
])
def test_what_cannot_be_read_is_an_error(tmp_path, text, where):
    (tmp_path / "bad.conf").write_text(text)
    (tmp_path / "a.conf").write_text("include a.conf;")
    done = run_import(tmp_path / "bad.conf")
    assert done.returncode == 1 and not done.stdout
    assert where in done.stderr and "bad.conf" in done.stderr or "a.conf" in done.stderr


def test_a_missing_file_and_wrong_use(tmp_path):
    assert run_import(tmp_path / "none.conf").returncode == 1
    assert subprocess.run([str(BINARY), "import"], capture_output=True, timeout=PATIENCE).returncode == 2
    shown = subprocess.run([str(BINARY), "import", "--help"], capture_output=True, text=True, timeout=PATIENCE)
    assert shown.returncode == 0 and "trellis import /etc/nginx/nginx.conf -o edge.yaml" in shown.stdout


# --- beside nginx ---


@contextlib.contextmanager
def running(folder, command, port):
    with open(folder / "server.log", "wb") as log:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=log)

    def up():
        assert process.poll() is None, (folder / "server.log").read_text()
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return True

    try:
        until(up, "the server")
        yield
    finally:
        process.terminate()
        process.wait(PATIENCE)


def ask(address, line, host="example.com", fields=(), body=b"", ahead=b""):
    method, target = line.split(" ")
    text = f"{method} {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n"
    text += "".join(f"{field}\r\n" for field in fields)
    if body or method == "POST":
        text += f"Content-Length: {len(body)}\r\n"
    with Client(address) as client:
        client.send(ahead + text.encode() + b"\r\n" + body)
        return client.answer(method.encode())


class Pair:
    """The other server and the node of the imported file, with their listeners by their ports in its file."""

    def __init__(self, node, ports, listeners):
        self.node, self.ports, self.listeners = node, ports, listeners

    def both(self, line, host="example.com", port=None, **more):
        port = port or self.ports[0]
        theirs = ask(("127.0.0.1", port), line, host, **more)
        if theirs.status == 502:  # nginx does not repeat a POST when the connection that it kept has just ended
            theirs = ask(("127.0.0.1", port), line, host, **more)
        ours = ask(self.node.address(self.listeners[port]), line, host, **more)
        return theirs, ours

    def same(self, line, host="example.com", port=None, body_too=True, **more):
        theirs, ours = self.both(line, host, port, **more)
        assert ours.status == theirs.status, (line, host, theirs, ours)
        if theirs.status < 400 and body_too and theirs.status not in (301, 302, 303, 307, 308):
            assert ours.body == theirs.body, (line, host)
        places = [answer.get(b"location") for answer in (theirs, ours)]
        assert (places[0] is None) == (places[1] is None), (line, places)
        if places[0]:
            base = f"http://{host}{line.split(' ')[1]}"
            full = [urllib.parse.urlsplit(urllib.parse.urljoin(base, place.decode())) for place in places]
            # nginx writes its own port into places that were given without a host.
            assert full[0]._replace(netloc=full[0].hostname) == full[1]._replace(netloc=full[1].hostname), (line, places)
        return theirs, ours


@contextlib.contextmanager
def beside(folder, name, **values):
    www = folder / "www"
    for path, text in FILES.items():
        (www / path).parent.mkdir(parents=True, exist_ok=True)
        (www / path).write_text(text)
    www.chmod(0o755)
    web, inner = free_ports(2)
    with Backend("one") as one, Backend("two") as two:
        lay_out(folder, WEB=f"127.0.0.1:{web}", INNER=str(inner), APP1=one.address, APP2=two.address, TMP=str(folder),
                PORT1=str(one.server_address[1]), WWW=str(www), **values)
        for path in folder.glob("*.conf"):  # nginx's working files belong into this folder, too
            text = path.read_text()
            path.write_text(text.replace("http {", "http {\n" + "".join(
                f"{what}_temp_path {folder}/{what};\n" for what in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")), 1))
        shutil.copy("/etc/nginx/mime.types", folder / "mime.types")
        done = run_import(folder / name)
        assert done.returncode == 0, done.stderr
        found = re.findall(r'^  ([\w-]+): \{ bind: "127\.0\.0\.1:(\d+)"', done.stdout, re.M)
        listeners = {int(port): listener for listener, port in found}
        sets = [f"listeners.{listener}.bind=127.0.0.1:0" for listener in listeners.values()]
        for path in folder.rglob("*"):
            path.chmod(0o755 if path.is_dir() else 0o644)
        folder.chmod(0o755)
        command = [HAPROXY, "-f", str(folder / name), "-db"]
        if name.endswith(".conf"):
            command = [NGINX, "-p", str(folder), "-c", str(folder / name), "-g", "daemon off;"]
        with running(folder, command, web), Node(done.stdout, sets=sets) as node:
            yield Pair(node, [web, inner], listeners)


@pytest.fixture
def open_folder():
    """A folder that nginx's workers, which may run as another user, can reach."""
    import tempfile
    with tempfile.TemporaryDirectory(prefix="trellis-nginx-", dir="/tmp") as name:
        pathlib.Path(name).chmod(0o755)
        yield pathlib.Path(name)


@needs_nginx
def test_a_reverse_proxy_answers_as_nginx_does(open_folder):
    with beside(open_folder, "reverse-proxy.conf") as pair:
        host = "shop.example.com"
        for line in ("GET /", "GET /some/page?a=1&b=2", "GET /api/items?x=y", "GET /api/", "GET /plain/x/y", "GET /assets/app.js",
                     "GET /media/cat.txt", "GET /healthz", "GET /old", "GET /private/x", "GET /closed/x", "GET /inner/x",
                     "GET /v1/items", "GET /v3/items", "GET /v2/items", "GET /assets/none.js", "GET /api", "GET /api?q=1",
                     "HEAD /healthz", "HEAD /api/x", "DELETE /read/x", "GET /read/x", "POST /far/x", "GET /far/x",
                     "GET /secret/x", "OPTIONS /preflight", "GET /preflight", "PUT /posts/x", "POST /posts/x", "GET /was/a/b?c=d", "GET /was", "POST /some", "GET /w1", "GET /w2/x", "GET /logo.txt"):
            pair.same(line, host)
        for line in ("GET //closed/x", "GET /closed%2Fx", "GET /closed%2f%2Fx", "GET ///private//x", "GET /private%2Fx", "GET /inner%2Fx"):
            assert pair.same(line, host)[1].status in (403, 404), line
        pair.same("POST /near/x", host)
        theirs, ours = pair.same("OPTIONS /preflight", host)
        assert ours.get(b"access-control-allow-origin") == theirs.get(b"access-control-allow-origin") == b"*"
        theirs, ours = pair.same("GET /page", host)
        assert ours.get(b"x-frame-options") == theirs.get(b"x-frame-options") == b"SAMEORIGIN"
        assert ours.get(b"x-secret") is None and theirs.get(b"x-secret") is None
        heard = json.loads(ours.body)["heard"]
        assert heard == {"host": host, "x-real-ip": "127.0.0.1", "x-edge": "edge one"}
        pair.same("POST /upload", host, body=b"x" * 8192)
        pair.same("POST /upload", host, body=b"x" * 8193)  # more than client_max_body_size
        theirs, ours = pair.same("GET /some", host, fields=["Accept-Encoding: gzip"], body_too=False)
        # Both hosts of the upstream are asked.
        seen = {ask(pair.node.address(), "GET /x", host).get(b"x-backend") for _ in range(40)}
        assert seen == {b"one", b"two"}


@needs_nginx
def test_hosts_are_told_apart_as_nginx_does(open_folder):
    with beside(open_folder, "many-hosts.conf") as pair:
        for line in ("GET /", "GET /docs/", "GET /docs/a.txt", "GET /none", "GET /legacy", "GET /go", "GET /go/", "GET /gone"):
            pair.same(line, "example.com")
        theirs, ours = pair.both("GET /docs")  # a directory without its slash
        assert (theirs.status, ours.status) == (301, 308)
        pair.same("GET /a/b?c=d", "www.example.com")
        pair.same("GET /docs/a.txt", "www.example.com")
        for line in ("GET /", "GET /x/y", "GET /who", "GET /who?lang=de", "GET /who?lang=fr"):
            pair.same(line, "a.tenants.example.com")
        pair.same("GET /who", "a.tenants.example.com", fields=["X-Lang: fr"])
        for line in ("GET /", "GET /some/page", "GET /app.js", "GET /api/x", "GET /api"):
            pair.same(line, "spa.example.com", body_too=not line.startswith("GET /api"))
        pair.same("GET /a/b?c=d", "old.example.com")
        inner = pair.ports[1]
        pair.same("GET /any", "whatever", port=inner)
        _, status = pair.both("GET /nginx_status", "whatever", port=inner)
        assert status.status == 200
        # What is of the inner listener never shows on the public one; nginx closes where we say 404.
        answer = ask(pair.node.address(pair.listeners[pair.ports[0]]), "GET /nginx_status", "localhost")
        assert answer.status == 404


@needs_nginx
def test_included_files_are_part_of_it(open_folder):
    with beside(open_folder, "includes.conf") as pair:
        for line in ("GET /", "GET /a?b", "GET /static/s.txt", "GET /static/none"):
            pair.same(line)
        _, ours = pair.both("GET /who")
        assert ours.get(b"x-backend") == b"one"  # two is for when one is gone


def same_host(pair, line, **more):
    """Who answered in both, and who the client was there."""
    theirs, ours = pair.same(line, body_too=False, **more)
    assert ours.get(b"x-backend") == theirs.get(b"x-backend"), (line, more)
    assert json.loads(ours.body) == json.loads(theirs.body), (line, more)
    return ours.get(b"x-backend"), json.loads(ours.body)["heard"]["x-real-ip"]


def clients_and_canaries_are_the_same(pair):
    assert same_host(pair, "GET /a") == (b"one", "127.0.0.1")
    assert same_host(pair, "GET /a", fields=["Cookie: a=b; canary=1"])[0] == b"two"
    assert same_host(pair, "GET /a", fields=["Cookie: canary=2"])[0] == b"one"
    assert same_host(pair, "GET /everybody/x")[0] == b"two"
    for claimed in ("192.0.2.7", "203.0.113.9, 192.0.2.7"):
        assert same_host(pair, "GET /a", fields=[f"X-Forwarded-For: {claimed}"])[1] == "192.0.2.7"
    header = b"PROXY TCP4 192.0.2.8 127.0.0.1 4711 80\r\n"
    assert same_host(pair, "GET /a", port=pair.ports[1], ahead=header) == (b"one", "192.0.2.8")


@needs_nginx
def test_canaries_and_clients_behind_a_balancer_are_as_with_nginx(open_folder):
    with beside(open_folder, "canary.conf") as pair:
        clients_and_canaries_are_the_same(pair)
        assert same_host(pair, "GET /asked/x", fields=["X-Canary: yes"])[0] == b"two"
        assert same_host(pair, "GET /asked/x", fields=["X-Canary: no"])[0] == b"one"
        # The client is the last address that is not trusted itself, and may be let in by it.
        for claimed in ("192.0.2.7", "203.0.113.9, 192.0.2.7", "192.0.2.7, 127.0.0.1"):
            assert same_host(pair, "GET /office/x", fields=[f"X-Forwarded-For: {claimed}"])[1] == "192.0.2.7"
        pair.same("GET /office/x", fields=["X-Forwarded-For: 203.0.113.9"])


@needs_haproxy
def test_canaries_and_clients_behind_a_balancer_are_as_with_haproxy(open_folder):
    with beside(open_folder, "canary.cfg") as pair:
        clients_and_canaries_are_the_same(pair)
        pair.same("GET /a", fields=["X-Forwarded-For: 203.0.113.9"])


@needs_nginx
def test_names_in_variables_are_looked_up_by_the_same_servers(open_folder):
    with DnsServer() as dns:
        dns.records["app.test"] = ["127.0.0.1"]
        with beside(open_folder, "names.conf", DNS=f"127.0.0.1:{dns.port}") as pair:
            _, ours = pair.same("GET /a?b=c")
            assert ours.get(b"x-backend") == b"one"
            statuses = [answer.status for answer in pair.both("GET /none/x")]
            assert statuses == [502, 503]  # nginx cannot resolve it, we have no host


@needs_haproxy
def test_a_frontend_answers_as_haproxy_does(open_folder):
    with beside(open_folder, "web.cfg") as pair:
        for host in ("shop.example.com", "www.shop.example.com", "other.example.com", "a.tenants.example.com", "moved.example.com"):
            for line in ("GET /", "GET /page?a=b", "GET /old", "POST /form"):
                pair.same(line, host)
        for line in ("GET /api/x", "GET /healthz", "GET /server-status", "GET /old"):
            pair.same(line, "other.example.com")
        theirs, ours = pair.both("GET /page", "shop.example.com")
        for field in (b"x-frame-options", b"x-secret", b"x-backend"):
            assert ours.get(field) == theirs.get(field), field
        assert json.loads(ours.body)["heard"] == {"host": "shop.example.com", "x-real-ip": "127.0.0.1", "x-edge": "edge one"}
        for line, host in (("GET /api/x", "shop.example.com"), ("POST /x", "a.tenants.example.com"), ("GET /x", "a.tenants.example.com")):
            theirs, ours = pair.both(line, host)
            assert ours.get(b"x-backend") == theirs.get(b"x-backend"), (line, host)


@needs_haproxy
def test_who_may_come_where_is_as_in_haproxy(open_folder):
    with beside(open_folder, "guards.cfg") as pair:
        for host in ("shop.example.com", "a.example.com", "elsewhere.org"):
            for path in ("/", "/up", "/early", "/one/x", "/two/x?y=z", "/token/x", "/far/x", "/far/two/x", "/near/x", "/near/two/x",
                         "/v1/x", "/moved?a=b", "/tls/x?y", "/other", "/drop", "/zone/x", "/zone/two/x", "/zone/open/x", "/kept/x"):
                for method in ("GET", "POST"):
                    for fields in ((), ("X-Token: 1",)):
                        theirs, ours = pair.both(f"{method} {path}", host, fields=fields)
                        line = (method, path, host, fields)
                        assert ours.status == theirs.status, line
                        for field in (b"x-backend", b"location", b"x-frame-options"):
                            assert ours.get(field) == theirs.get(field), line
                        if ours.get(b"x-backend"):
                            assert json.loads(ours.body)["path"] == json.loads(theirs.body)["path"], line


def test_what_haproxy_says_and_trellis_cannot_is_told(tmp_path):
    lay_out(tmp_path)
    done = run_import(tmp_path / "mixed.cfg")
    for what in ("bind :443 ssl", "blocked.lst", "path_end", "server ... ssl", "stick-table", "cookie", "maxconn",
                 "stats enable"):
        assert what in done.stderr, what
    assert "let through" in done.stderr
    assert "not imported: secure" in done.stdout
    routes = done.stdout.split("\nroutes:")[1]
    left = routes[routes.index('path: "/private/open/**"'):].split("- match:")[0]
    assert "to: upstream.plain" in left  # what a rule that refuses leaves to others
    assert 'path: "/private/**" }\n    to: { fixed: { status: 403' in routes
    assert subprocess.run([str(BINARY), "import", str(tmp_path / "mixed.cfg"), "--from", "nginx"], capture_output=True,
                          timeout=PATIENCE).returncode == 1
