#!/usr/bin/env python3
"""The clients of pair_test.py, in a network namespace of their own: they ask the virtual address again and again and write what
came of it, a line of JSON each. They repeat nothing. Ends, after the requests under way, when standard input does.

    pair_client.py ADDRESS OWN_ADDRESS
"""
import asyncio
import json
import sys
import time

KEPT, FRESH, LONG = 4, 4, 3  # connections that are kept, that are new for each request, with a long answer
PATIENCE = 3.0               # a client's own, in seconds; for a long answer ten times as much
PIECES, PIECE_EVERY = 20, 0.1


def say(worker, begun, edge=None, error=None):
    print(json.dumps({"worker": worker, "begun": begun, "at": time.monotonic(), "edge": edge, "error": error}), flush=True)


async def read_answer(reader):
    """The body, and whether the connection stays."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
    if not head.startswith("http/1.1 200 "):
        raise ConnectionError(head.splitlines()[0])
    fields = dict(line.split(": ", 1) for line in head.split("\r\n")[1:] if line)
    body = await reader.readexactly(int(fields["content-length"]))
    return body.decode(), fields.get("connection") != "close"


async def ask(connection, path, patience):
    reader, writer = connection
    writer.write(f"GET {path} HTTP/1.1\r\nHost: pair\r\n\r\n".encode())
    return await asyncio.wait_for(read_answer(reader), patience)


async def ask_again_and_again(name, address, path, keep, patience, over):
    connection = None
    while not over.is_set():
        begun = time.monotonic()
        try:
            # As clients do that keep connections: one that has ended meanwhile is not used again.
            if connection and connection[0].at_eof():
                connection[1].close()
                connection = None
            if not connection:
                connection = await asyncio.wait_for(asyncio.open_connection(address, 80), patience)
            body, stays = await ask(connection, path, patience)
            say(name, begun, edge=body.strip("."))
        except (OSError, EOFError, asyncio.TimeoutError) as error:
            say(name, begun, error=f"{type(error).__name__} {error}")
            stays = False
            await asyncio.sleep(0.02)
        if connection and not (keep and stays):
            connection[1].close()
            connection = None
        await asyncio.sleep(0.002)


async def answer_slowly(reader, writer):
    """The upstream of the long answers, a piece now and then: dots, and the edge that asks, which put its name before the path."""
    try:
        while True:
            request = await reader.readuntil(b"\r\n\r\n")
            edge = request.split(b" ")[1].split(b"/")[1]
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (PIECES + len(edge)))
            for _ in range(PIECES):
                await asyncio.sleep(PIECE_EVERY)
                writer.write(b".")
                await writer.drain()
            writer.write(edge)
    except (OSError, EOFError, asyncio.CancelledError):
        writer.close()


async def main(address, own):
    upstream = await asyncio.start_server(answer_slowly, own, 8000)
    over = asyncio.Event()
    workers = []
    for kind, count, path, keep, patience in (("kept", KEPT, "/", True, PATIENCE), ("fresh", FRESH, "/", False, PATIENCE),
                                              ("long", LONG, "/long", True, 10 * PATIENCE)):
        workers += [asyncio.create_task(ask_again_and_again(f"{kind}-{i}", address, path, keep, patience, over))
                    for i in range(count)]
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    over.set()
    await asyncio.gather(*workers)
    upstream.close()


asyncio.run(main(*sys.argv[1:]))
