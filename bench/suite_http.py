"""The edge against nginx and HAProxy: proxied answers, a fixed answer, static files, memory of idle connections."""
from servers import Haproxy, Nginx, Origin, Trellis

SUMMARY = "proxied answers, fixed answer, static files and idle connections; us on io_uring and on epoll, nginx, HAProxy"
IDLE = 10_000


def prepare(folder, options, Row, started):
    files = folder / "files"
    files.mkdir()
    for name, size in (("1k.txt", 1 << 10), ("64k.txt", 1 << 16), ("1m.txt", 1 << 20)):
        (files / name).write_bytes(b"s" * size)
    origin = Origin("origin", "http", folder, options.origin_core)
    origin.start()
    started.append(origin)
    args = dict(suite="http", folder=folder, core=options.server_core, origin_port=origin.port, files=files)
    servers = [Trellis("trellis", **args), Trellis("trellis-epoll", io="epoll", **args), Nginx("nginx", **args),
               Haproxy("haproxy", **args), Haproxy("haproxy-80k", buffer=80 * 1024, **args)]
    us = ["trellis", "trellis-epoll"]
    everybody = [*us, "nginx", "haproxy"]
    c64, c256 = ("--connections", "64"), ("--connections", "256")
    rows = [
        Row("proxied small, 64", "/small", everybody, *c64),
        Row("proxied small, 256", "/small", everybody, *c256),
        Row("proxied 64 KiB, 64", "/64k", [*everybody, "haproxy-80k"], *c64),
        Row("fixed answer, 64", "/fixed", everybody, *c64),
        Row("file 1 KiB, 64", "/files/1k.txt", [*us, "nginx"], *c64),
        Row("file 64 KiB, 64", "/files/64k.txt", [*us, "nginx"], *c64),
        Row("file 1 MiB, 64", "/files/1m.txt", [*us, "nginx"], *c64),
        Row(f"{IDLE:,} idle connections", "/small", everybody, idle=IDLE),
    ]
    return servers, rows


def fill(folder, running):
    """Nothing to fill: the origin and the files are there."""


def arguments(row, server):
    return []


def remarks(found, ours):
    return ["Access logs are on: ours and nginx's to a file, HAProxy's to a ring in memory.",
            "haproxy-80k has buffers of 80 KiB, which suit answers of 64 KiB better than its default of 16 KiB."]
