"""Clients that ask without pause while something happens to the node or to its hosts."""
import threading

import node


class Load:
    """So many threads, each with `ask(number)` of the subclass, which goes on until `over` is set and writes what it saw under
    `lock`; `answered()` counts. What must not happen goes to `faults`."""

    def __init__(self, address, clients):
        self.address = address
        self.faults = []
        self.lock = threading.Lock()
        self.over = threading.Event()
        self.threads = [threading.Thread(target=self.ask, args=(number,)) for number in range(clients)]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        for thread in self.threads:
            thread.join()

    def further(self, count, what="further answers"):
        """Waits until so many more have come, or a fault."""
        goal = self.answered() + count
        node.until(lambda: self.answered() >= goal or self.faults, what, seconds=6 * node.PATIENCE)
