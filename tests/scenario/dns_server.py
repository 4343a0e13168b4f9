"""A DNS server of its own for scenario tests: `records` say what it answers, and may change while it runs.

    with DnsServer() as dns:
        dns.records["api.test"] = ["127.0.0.1"]          # A records; an SRV is (priority, weight, port, target)
        dns.failing = True                                # SERVFAIL to everything
        dns.silent = True                                 # and nothing at all
"""
import socket
import struct
import threading

A, SRV = 1, 33


def name_bytes(name):
    return b"".join(bytes([len(part)]) + part.encode() for part in name.split(".") if part) + b"\0"


class DnsServer:
    def __init__(self, ttl=1):
        self.records = {}
        self.ttl = ttl
        self.failing = False
        self.silent = False
        self.asked = []

    def __enter__(self):
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self.stopping = False
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stopping = True
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
            one.sendto(b"", ("127.0.0.1", self.port))
        self.thread.join()
        self.socket.close()

    def _run(self):
        while True:
            query, client = self.socket.recvfrom(2048)
            if self.stopping:
                return
            if len(query) > 16 and not self.silent:
                self.socket.sendto(self._answer(query), client)

    def _answer(self, query):
        at, parts = 12, []
        while query[at]:
            parts.append(query[at + 1:at + 1 + query[at]].decode().lower())
            at += 1 + query[at]
        name = ".".join(parts)
        question = query[12:at + 5]
        kind = struct.unpack(">H", query[at + 1:at + 3])[0]
        self.asked.append((name, kind))
        answers = []
        for record in self.records.get(name, []):
            if kind == A and isinstance(record, str):
                answers.append(socket.inet_aton(record))
            elif kind == SRV and isinstance(record, tuple):
                priority, weight, port, target = record
                answers.append(struct.pack(">HHH", priority, weight, port) + name_bytes(target))
        code = 2 if self.failing else 0 if name in self.records else 3
        if code:
            answers = []
        body = b"".join(b"\xc0\x0c" + struct.pack(">HHIH", kind, 1, self.ttl, len(data)) + data for data in answers)
        return query[:2] + struct.pack(">HHHHH", 0x8180 | code, 1, len(answers), 0, 0) + question + body
