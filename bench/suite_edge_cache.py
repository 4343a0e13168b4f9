"""The edge cache against nginx, HAProxy and Varnish: hits from memory and from disk, misses, a stampede, and what caches of
several sizes keep from the origin on real traces."""
import asyncio
import itertools
import lzma
import socket
import statistics
import struct
import subprocess
import threading
import time

from cache_servers import DISK_MIB, MEMORY_MIB, CachingHaproxy, CachingNginx, Varnish
from measuring import progress, span
from servers import BUILD, Origin, Trellis
from suite_cache import data_folder, ratios_of

SUMMARY = "hits of 1 KiB to 1 MiB from memory, 64 KiB from disk, misses, a stampede, offload on traces; us, nginx, HAProxy, Varnish"
LOAD = BUILD / "bench/trellis_load"
DISK_OBJECTS = 4096  # of 64 KiB: four times the memory of those who have a disk
DISK_MEMORY_MIB = 64
ON_DISK = ("trellis-disk", "nginx", "varnish-file")
MISSES = 400_000  # URLs of one measurement
STAMPEDE, STAMPEDE_BODY, STAMPEDE_PIECE = 1000, 256 << 10, 16 << 10
STAMPEDE_ROW = f"stampede of {STAMPEDE:,}"
RATIOS_ROW = "offload on traces"


def prepare(folder, options, Row, started):
    origin = Origin("origin", "edge-cache", folder, options.origin_core)
    origin.start()
    started.append(origin)
    args = dict(suite="edge-cache", folder=folder, core=options.server_core, origin_port=origin.port)
    disk = (f"caches.bench.memory={DISK_MEMORY_MIB}MiB", "caches.bench.disk.path=./cache", f"caches.bench.disk.size={DISK_MIB}MiB")
    servers = [Trellis("trellis", **args), Trellis("trellis-epoll", io="epoll", **args), CachingNginx("nginx", **args),
               CachingHaproxy("haproxy", **args), Varnish("varnish", **args), Trellis("trellis-disk", sets=disk, **args),
               Varnish("varnish-file", storage=f"file,FOLDER/storage,{DISK_MIB}m", **args)]
    memory = ["trellis", "trellis-epoll", "nginx", "haproxy", "varnish"]
    c64 = ("--connections", "64")
    rows = [
        Row("hit 1 KiB, 64", "/cached/1k", memory, *c64),
        Row("hit 16 KiB, 64", "/cached/16k", memory, *c64),
        Row("hit 1 MiB, 64", "/cached/1m", memory, *c64),
        Row("disk 64 KiB, 64", "/", ON_DISK, *c64, "--zipf", "0"),
        Row("miss 1 KiB, 64", "/", memory, *c64),
    ]
    prepare.folder = folder
    prepare.disk_wanted = not options.rows or any(part in rows[3].name for part in options.rows.split(","))
    return servers, rows


def disk_paths():
    path = prepare.folder / "disk.paths"
    if not path.exists():
        path.write_text("".join(f"/cached/64k/{number}\n" for number in range(DISK_OBJECTS)))
    return path


def fill(folder, running):
    """Those with a disk have its objects before they are measured."""
    if not prepare.disk_wanted:
        return
    for server in running:
        if server.name in ON_DISK:
            subprocess.run([LOAD, "--connections", "64", "--seconds", "5", "--warmup", "0", "--paths", disk_paths(),
                            f"http://127.0.0.1:{server.port}/"], stdout=subprocess.DEVNULL, check=True, timeout=60)


_turns = itertools.count()


def arguments(row, server):
    if row.name.startswith("disk"):
        return ["--paths", str(disk_paths())]
    if not row.name.startswith("miss"):
        return []
    # Never the same URL twice, whichever measurement it is.
    path = prepare.folder / "miss.paths"
    turn = next(_turns)
    path.write_text("".join(f"/cached/1k/{turn}-{number}\n" for number in range(MISSES)))
    return ["--paths", str(path)]


# --- A stampede ---

class SlowOrigin:
    """Counts requests; answers them when it is told to: the head and a first piece, then a piece each 20 ms."""

    def __init__(self):
        self.requests = 0
        self.go_on = asyncio.Event()

    async def __aenter__(self):
        self.server = await asyncio.start_server(self.answer, "127.0.0.1", 0, backlog=4096)
        self.port = self.server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_):
        self.server.close()

    async def answer(self, reader, writer):
        try:
            await reader.readuntil(b"\r\n\r\n")
            self.requests += 1
            await self.go_on.wait()
            writer.write(b"HTTP/1.1 200 OK\r\nCache-Control: max-age=3600\r\nContent-Length: %d\r\n\r\n" % STAMPEDE_BODY)
            for _ in range(STAMPEDE_BODY // STAMPEDE_PIECE):
                writer.write(b"s" * STAMPEDE_PIECE)
                await writer.drain()
                await asyncio.sleep(0.02)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


def ask_all(port, path, ready, asked, arrived):
    """The clients, on a thread of their own: the first asks alone, then the others. `arrived`: when the first bytes came, by the
    kernel's clock, which knows it of each packet, whenever this thread gets to read it; in the order of asking."""
    clients = []
    for number in range(STAMPEDE):
        one = socket.create_connection(("127.0.0.1", port), 30)
        one.setsockopt(socket.SOL_SOCKET, 35, 1)  # SO_TIMESTAMPNS
        one.settimeout(120)
        one.sendall(f"GET {path} HTTP/1.1\r\nHost: bench\r\n\r\n".encode())
        clients.append(one)
        if number == 0:
            ready.wait(30)
    asked.set()
    for one in clients:
        _, notes, _, _ = one.recvmsg(1, 64)
        stamps = [struct.unpack("qq", data[:16]) for level, kind, data in notes if (level, kind) == (socket.SOL_SOCKET, 35)]
        arrived.append(stamps[0][0] + stamps[0][1] / 1e9 if stamps else time.time())
    for one in clients:
        got = 1
        while got < STAMPEDE_BODY:
            piece = one.recv(1 << 20)
            if not piece:
                break
            got += len(piece)
        one.close()


async def stampede(server):
    async with SlowOrigin() as origin:
        server.origin_port, kept = origin.port, server.origin_port
        server.stop()
        server.start()
        server.origin_port = kept
        ready, asked, arrived = threading.Event(), threading.Event(), []
        thread = threading.Thread(target=ask_all, args=(server.port, f"/cold/{next(_turns)}", ready, asked, arrived))
        thread.start()
        while origin.requests == 0:
            await asyncio.sleep(0.005)
        ready.set()
        while not asked.is_set():
            await asyncio.sleep(0.005)
        # Until the requests are where they wait: nothing tells for all of these servers, so a time that suffices.
        await asyncio.sleep(1)
        origin.go_on.set()
        while thread.is_alive():
            await asyncio.sleep(0.01)
        soonest = min(arrived)
        later = sorted((when - soonest) * 1e6 for when in arrived)
        return {"fetches": origin.requests, "median": statistics.median(later), "p99": later[int(0.99 * len(later))],
                "first": (arrived[0] - soonest) * 1e6}


def stampedes(running, options, raw):
    lines = ["", f"| {STAMPEDE:,} clients, one cold object of {STAMPEDE_BODY >> 10} KiB | fetches | first bytes behind the "
             "soonest: median | p99 | of the client that asked first |", "|---|---|---|---|---|"]
    raw[STAMPEDE_ROW] = {}
    for server in running:
        if server.name in ("trellis-disk", "varnish-file"):
            continue
        for one in running:
            if one is not server:
                one.stop()
        rounds = [asyncio.run(stampede(server)) for _ in range(options.rounds)]
        raw[STAMPEDE_ROW][server.name] = rounds
        middle = {what: statistics.median(one[what] for one in rounds) for what in rounds[0]}
        lines.append(f"| {server.name} | {middle['fetches']:,.0f} | {span(middle['median'])} | {span(middle['p99'])} | "
                     f"{span(middle['first'])} |")
        progress(f"{STAMPEDE_ROW}, {server.name}: {middle['fetches']:.0f} fetches, median {span(middle['median'])}")
    return lines


# --- What it keeps from the origin ---

LARGEST = 0.5  # of a shard
SHARES = (0.01, 0.05, 0.1, 0.25, 0.5)


def offload(options, raw):
    """Of traces with sizes: hits and the bytes that do not come from the origin, ours beside LRU, at shares of all distinct bytes."""
    folder = data_folder() / "traces"
    if not folder.exists():
        return ["", f"No traces in {data_folder()}: set TRELLIS_DATA for the offload."]
    lines = ["", "| trace | cache: share of all bytes | s3fifo: hits | bytes kept from the origin | LRU: hits | bytes kept from the origin |",
             "|---|---|---|---|---|---|"]
    raw[RATIOS_ROW] = {}
    for trace in ("accesslog", "cloudphysics-io"):
        text = lzma.decompress((folder / f"{trace}.keys.xz").read_bytes()).decode()
        sizes = dict(tuple(map(int, line.split()[:2])) for line in text.split("\n") if line)
        distinct = sum(sizes.values())
        capacities = [int(distinct * share) for share in SHARES]
        found = ratios_of(trace, [(policy, capacity) for capacity in capacities for policy in ("s3fifo", "lru")], True, LARGEST)
        for share, capacity in zip(SHARES, capacities):
            (hits, kept), (lru_hits, lru_kept) = found["s3fifo", capacity], found["lru", capacity]
            raw[RATIOS_ROW][f"{trace} {share}"] = [hits, kept, lru_hits, lru_kept]
            lines.append(f"| {trace} | {share:.0%}, {capacity / 2**20:,.1f} MiB | {hits:.3f} | {kept:.3f} | {lru_hits:.3f} | {lru_kept:.3f} |")
    return lines


def further(running, options, raw):
    """What needs no load generator."""
    wanted = options.rows.split(",") if options.rows else [""]
    lines = []
    if any(part in STAMPEDE_ROW for part in wanted):
        lines += stampedes(running, options, raw)
    if any(part in RATIOS_ROW for part in wanted):
        lines += offload(options, raw)
    return lines


def remarks(found, ours):
    return [f"Memory of {MEMORY_MIB} MiB each, but for the disk row: there {DISK_MEMORY_MIB} MiB for ours, and {DISK_OBJECTS:,} objects, "
            f"{DISK_OBJECTS // 16} MiB, at random; nginx has files only, which the kernel keeps in its page cache, as it does ours and Varnish's.",
            "Access logs are on: ours and nginx's to a file, HAProxy's to a ring in memory, Varnish's in shared memory with nobody reading it.",
            "The stampede's times are of arrivals, by the kernel's stamps of the packets; all clients wait when the origin begins.",
            "Offload is computed, not measured: the eviction alone, on bytes of bodies. What is larger than half of it passes by."]
