"""The edge before an application, against nginx and HAProxy: small and large answers, bodies, WebSockets, relayed connections,
idle connections, and how many connections to the application slow clients hold."""
import asyncio
from pathlib import Path

from measuring import progress
from servers import Haproxy, Nginx, Origin, Trellis

SUMMARY = "answers of 100 bytes to 1 MiB, POST, WebSocket, relay, idle and slow clients; us on io_uring and on epoll, nginx, HAProxy"
SLOW, SLOW_BODY, SLOW_PIECES = 200, 8 * 1024, 16
SLOW_ROW = f"{SLOW} slow POSTs"


def prepare(folder, options, Row, started):
    origin = Origin("origin", "proxy", folder, options.origin_core)
    origin.start()
    started.append(origin)
    args = dict(suite="proxy", folder=folder, core=options.server_core, origin_port=origin.port)
    servers = [Trellis("trellis", **args), Trellis("trellis-epoll", io="epoll", **args), Nginx("nginx", **args),
               Haproxy("haproxy", **args), Haproxy("haproxy-80k", buffer=80 * 1024, **args)]
    everybody = ["trellis", "trellis-epoll", "nginx", "haproxy"]
    large = [*everybody, "haproxy-80k"]
    idle = 100 if options.quick else 10_000
    c64, c256 = ("--connections", "64"), ("--connections", "256")
    rows = [
        Row("small, 64", "/small", everybody, *c64),
        Row("small, 256", "/small", everybody, *c256),
        Row("64 KiB, 64", "/64k", large, *c64),
        Row("1 MiB, 64", "/1m", large, *c64),
        Row("POST 16 KiB, 64", "/small", large, *c64, "--method", "POST", "--body-size", str(16 * 1024)),
        Row("connection per request, 64", "/small", everybody, *c64, "--reconnect"),
        Row("WebSocket echo 100 bytes, 64", "/echo", everybody, *c64, "--echo", "100"),
        Row("relay small, 64", "/small", everybody, *c64, relay=True),
        Row("relay 64 KiB, 64", "/64k", large, *c64, relay=True),
        Row(f"{idle:,} idle connections", "/small", everybody, idle=idle),
    ]
    return servers, rows


def fill(folder, running):
    """Nothing to fill: the origin is there."""


def arguments(row, server):
    return []


def held(port):
    """Connections that a listening port of this machine has."""
    count = 0
    for line in Path("/proc/net/tcp").read_text().split("\n")[1:]:
        fields = line.split()
        count += len(fields) > 3 and fields[3] == "01" and int(fields[1].rsplit(":", 1)[1], 16) == port
    return count


async def post_slowly(port, delay, seconds):
    """One POST whose body comes in pieces. True when it was answered with 200."""
    await asyncio.sleep(delay)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(f"POST /slow HTTP/1.1\r\nHost: bench\r\nConnection: close\r\nContent-Length: {SLOW_BODY}\r\n\r\n".encode())
        for _ in range(SLOW_PIECES):
            await asyncio.sleep(seconds / SLOW_PIECES)
            writer.write(b"x" * (SLOW_BODY // SLOW_PIECES))
            await writer.drain()
        return (await reader.read()).startswith(b"HTTP/1.1 200 ")
    except OSError:
        return False
    finally:
        writer.close()


async def most_held(port, origin_port, seconds):
    """How many connections to the origin slow clients, one begun behind the other, make a server hold at most, and how many of
    them were answered."""
    clients = asyncio.gather(*(post_slowly(port, seconds * i / SLOW, seconds) for i in range(SLOW)))
    most = 0
    while not clients.done():
        most = max(most, held(origin_port))
        await asyncio.sleep(0.02)
    return most, sum(clients.result())


def further(running, options, raw):
    """The slow clients: no rate is measured, so it needs no load generator."""
    if options.rows and not any(part in SLOW_ROW for part in options.rows.split(",")):
        return []
    seconds = 0.5 if options.quick else 4.0
    lines = ["", f"| {SLOW} clients, {SLOW_BODY // 1024} KiB over {seconds:g} s each | connections to the origin, at most | answered |",
             "|---|---|---|"]
    raw[SLOW_ROW] = {}
    for server in running:
        # The connections that others keep idle would count: they stop, and this one starts anew.
        for one in running:
            one.stop()
        server.start()
        most, answered = asyncio.run(most_held(server.port, server.origin_port, seconds))
        raw[SLOW_ROW][server.name] = {"held": most, "answered": answered}
        lines.append(f"| {server.name} | {most} | {answered} |")
        progress(f"{SLOW_ROW}, {server.name}: {most} connections held, {answered} answered")
    return lines


def remarks(found, ours):
    return ["Access logs and metrics are on: logs of ours and nginx's in files, HAProxy's in a ring in memory; nginx's stub_status.",
            "haproxy-80k has buffers of 80 KiB, which suit large bodies better than its default of 16 KiB.",
            "An answer of the WebSocket row is a message that came back. Relayed connections are passed on unread (nginx stream, "
            "HAProxy mode tcp). nginx keeps bodies of requests before it asks the origin; HAProxy does for the slow ones."]
