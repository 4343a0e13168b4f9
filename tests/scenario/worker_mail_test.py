"""A node that only sends mail, for a node that only keeps the jobs: two processes, one of them killed under load."""
import json
import re
import socketserver
import threading

from links_node import CONFIG, LinksNode
from node import Node, until
from worker_node_test import ask

OWNER = CONFIG + "workers:\n  none: { store: main, concurrency: 0 }\n"
WORKER = """\
node: mailer
workers:
  mail: {{ from: "http://127.0.0.1:{control}", queues: [mail], concurrency: 8 }}
services:
  mail: {{ server: "smtp://127.0.0.1:{smtp}", from: "links@example.com", tls: off, per_minute: 60000 }}
"""


class Smtp(socketserver.ThreadingTCPServer):
    """Takes every mail and keeps it."""
    daemon_threads = True
    allow_reuse_address = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), SmtpSession)
        self.mails = []
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def __exit__(self, *_):
        self.shutdown()
        self.server_close()


class SmtpSession(socketserver.StreamRequestHandler):
    def handle(self):
        def say(text):
            self.wfile.write(text.encode() + b"\r\n")

        try:
            say("220 here")
            while line := self.rfile.readline():
                word = line.split()[0].upper() if line.split() else b""
                if word == b"DATA":
                    say("354 go on")
                    data = b""
                    while (piece := self.rfile.readline()) not in (b".\r\n", b""):
                        data += piece
                    self.server.mails.append(data.decode())
                    say("250 taken")
                elif word == b"QUIT":
                    say("221 bye")
                    return
                else:
                    say("250 well")
        except OSError:
            pass


def header(mail, name):
    return re.search(rf"^{name}: *(.+?)\r?$", mail, re.M | re.I)[1]


def test_a_worker_node_sends_every_mail_over_kill_9():
    count = 300
    with Smtp() as smtp, LinksNode(OWNER) as owner:
        for number in range(count):
            mail = {"to": "someone@example.com", "subject": f"number {number}", "text": "hello"}
            status, answer = ask(owner, "POST", "/v1/jobs/enqueue?queue=mail&kind=mail&max_attempts=20",
                                 json.dumps(mail).encode())
            assert status == 201, answer

        def stats():
            _, answer = ask(owner, "GET", "/v1/jobs")
            return next(one for one in answer["queues"] if one["queue"] == "mail")

        config = WORKER.format(control=owner.control[1], smtp=smtp.server_address[1])
        with Node(config) as worker:
            until(lambda: len(smtp.mails) >= count // 10, "some mails")
            worker.process.kill()
        with Node(config) as worker:
            until(lambda: stats()["done"] == count, "all jobs done", seconds=90)
            assert stats()["dead"] == 0
        subjects = {}
        for mail in smtp.mails:  # one sent twice is known by its id
            subjects.setdefault(header(mail, "Subject"), set()).add(header(mail, "Message-ID"))
        assert len(subjects) == count
        assert all(len(ids) == 1 for ids in subjects.values())
