"""WebSocket with a client and a server that others wrote."""
import asyncio
import threading

import websockets
import websockets.exceptions

import node


class WebSockets:
    """A WebSocket server that sends back what it gets; "push N" makes it send N messages, "close" close by itself."""

    def __enter__(self):
        self.loop = asyncio.new_event_loop()
        self.open = 0
        self.headers = []
        ready = threading.Event()

        async def serve():
            self.stopping = asyncio.Event()
            async with websockets.serve(self._talk, "127.0.0.1", 0, max_size=8 << 20, subprotocols=["chat"], ping_interval=None) as server:
                self.port = server.sockets[0].getsockname()[1]
                ready.set()
                await self.stopping.wait()

        self.thread = threading.Thread(target=lambda: self.loop.run_until_complete(serve()), daemon=True)
        self.thread.start()
        assert ready.wait(node.PATIENCE)
        return self

    def __exit__(self, *_):
        self.loop.call_soon_threadsafe(self.stopping.set)
        self.thread.join(node.PATIENCE)
        self.loop.close()

    @property
    def host(self):
        return f"127.0.0.1:{self.port}"

    async def _talk(self, connection):
        self.open += 1
        self.headers.append(connection.request_headers)
        try:
            async for message in connection:
                if message == "close":
                    await connection.close(4000, "enough")
                elif isinstance(message, str) and message.startswith("push "):
                    for number in range(int(message[5:])):
                        await connection.send(f"pushed {number}")
                else:
                    await connection.send(message)
        except websockets.exceptions.ConnectionClosed:
            pass
        finally:
            self.open -= 1


def connect(address, path="/chat", **more):
    return websockets.connect("ws://%s:%d%s" % (*address, path), max_size=8 << 20, compression=None, ping_interval=None, open_timeout=node.PATIENCE,
                              close_timeout=node.PATIENCE, **more)


async def echoes(connection, message):
    """Sends it, and it comes back."""
    await connection.send(message)
    assert await asyncio.wait_for(connection.recv(), node.PATIENCE) == message
