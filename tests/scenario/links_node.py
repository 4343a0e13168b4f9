"""A node with the links service that can be stopped, killed and started again on the same data folder.

    with LinksNode() as node:
        status, headers, link = node.api("POST", "/v1/links", {"url": "https://example.com/"})
        node.kill()
        node.start()

The ports change with every start; `address()` names those of the moment.
"""
import json
import subprocess

from node import PATIENCE, Client, Node

CONFIG = """\
node: links
listeners:
  web: { bind: "127.0.0.1:0" }
stores:
  main: sqlite:./data/trellis.db
caches:
  hot: { memory: 64MiB }
services:
  links: { store: main, cache: hot, base_url: "http://go.test" }
routes:
  - { name: links, match: { path: /** }, to: service.links }
"""


class LinksNode(Node):
    def __init__(self, config=CONFIG, **more):
        super().__init__(config, **more)
        self.errors_before = ""
        (self.folder / "data").mkdir()

    def start(self):
        return self.__enter__()

    def stop(self, seconds=PATIENCE):
        """SIGTERM; gives the exit code."""
        self.process.terminate()
        return self._ended(self.process.wait(seconds))

    def kill(self):
        self.process.kill()
        return self._ended(self.process.wait())

    def _ended(self, code):
        self.process.stdout.close()
        self.errors_before += self.errors()
        self.log.close()
        return code

    def client(self):
        return Client(self.address())

    def api(self, method, path, body=None, headers=None, client=None):
        """(status, {field: value}, JSON or None) of one request; `body` is bytes as they are, or made JSON."""
        if client is None:
            with self.client() as one:
                return self.api(method, path, body, headers, one)
        client.send(request(method, path, body, headers))
        answer = client.answer(method.encode())
        fields = {name.decode(): value.decode() for name, value in answer.fields}
        return answer.status, fields, json.loads(answer.body) if answer.body else None

    def make(self, url, client=None, **more):
        status, _, link = self.api("POST", "/v1/links", {"url": url, **more}, client=client)
        assert status == 201, link
        return link

    def link(self, code):
        status, _, link = self.api("GET", f"/v1/links/{code}")
        assert status == 200, link
        return link

    def follow(self, code, method="GET", client=None):
        """(status, Location or None)."""
        status, fields, _ = self.api(method, f"/{code}", client=client)
        return status, fields.get("location")

    def pages(self, limit=100, query=""):
        """Every page of the list, from the newest link on."""
        cursor = ""
        with self.client() as client:
            while True:
                path = f"/v1/links?limit={limit}{query}" + (f"&cursor={cursor}" if cursor else "")
                status, _, page = self.api("GET", path, client=client)
                assert status == 200, page
                yield page["items"]
                cursor = page["next"]
                if cursor is None:
                    return

    def listed(self, limit=100, query=""):
        return [link for page in self.pages(limit, query) for link in page]

    def cli(self, *words, given=None):
        """The links command against this node; `given` is its standard input."""
        address = "http://%s:%d" % self.address()
        return subprocess.run([self.command[0], "links", *words, "--node", address], capture_output=True, text=True,
                              timeout=PATIENCE, cwd=self.folder, input=given)


def request(method, path, body=None, headers=None):
    """The bytes of a request with a JSON body."""
    lines = [f"{method} {path} HTTP/1.1", "Host: go.test"]
    if body is not None:
        if not isinstance(body, bytes):
            body = json.dumps(body).encode()
        lines.append(f"Content-Length: {len(body)}")
        if not headers or "content-type" not in {name.lower() for name in headers}:
            lines.append("Content-Type: application/json")
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + (body or b"")
