"""Redirects of the links service, clicks recorded, against nginx answering `return 302`."""
import http.client
import json
import random
import string
import sys
from concurrent.futures import ThreadPoolExecutor

from servers import Nginx, Trellis

SUMMARY = "redirects with clicks recorded, uniform keys and one hot key, closed loop and at 70 % of capacity; us, nginx"
LINKS = 10_000
WRITERS = 16
UNIFORM, HOT = "redirect, uniform keys", "redirect, one hot key"


def prepare(folder, options, Row, started):
    args = dict(suite="links", folder=folder, core=options.server_core)
    servers = [Trellis("trellis", **args), Trellis("trellis-epoll", io="epoll", **args), Nginx("nginx", **args)]
    names = [s.name for s in servers]
    c64 = ("--connections", "64")
    rows = [
        Row(UNIFORM, "/", names, *c64, "--zipf", "0"),
        Row(HOT, "/", names, *c64),
        Row("uniform keys at 70 % of its rate", "/", names, *c64, "--zipf", "0", rate_of=UNIFORM),
        Row("one hot key at 70 % of its rate", "/", names, *c64, rate_of=HOT),
    ]
    return servers, rows


def create(port, count, first):
    """Creates links one by one on one connection and returns their paths."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    paths = []
    for i in range(first, first + count):
        body = json.dumps({"url": f"https://example.com/an/article/with/a/long/path?and=a&query={i}"})
        connection.request("POST", "/v1/links", body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        text = answer.read()
        if answer.status not in (200, 201):
            sys.exit(f"POST /v1/links: {answer.status} {text[:500]!r}")
        paths.append("/" + json.loads(text)["code"])
    connection.close()
    return paths


def fill(folder, running):
    for server in running:
        if isinstance(server, Trellis):
            share = LINKS // WRITERS
            with ThreadPoolExecutor(WRITERS) as pool:
                lists = pool.map(lambda n: create(server.port, share, n * share), range(WRITERS))
            paths = [path for list_ in lists for path in list_]
        else:
            rng = random.Random(1)
            paths = ["/" + "".join(rng.choices(string.ascii_letters + string.digits, k=7)) for _ in range(LINKS)]
        server.all_paths = folder / f"{server.name}-all.txt"
        server.all_paths.write_text("\n".join(paths) + "\n")
        server.hot_path = folder / f"{server.name}-hot.txt"
        server.hot_path.write_text(paths[len(paths) // 2] + "\n")


def arguments(row, server):
    return ["--paths", str(server.hot_path if "hot" in row.name else server.all_paths)]


def remarks(found, ours):
    lines = []
    for name in found.get(UNIFORM, {}):
        if name in found.get(HOT, {}):
            ratio = found[HOT][name]["cpu_low"] / found[UNIFORM][name]["cpu_low"]
            lines.append(f"{name}: one hot key costs {ratio:.2f} of uniform keys.")
    return lines
