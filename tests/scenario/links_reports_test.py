#!/usr/bin/env python3
"""Reports and mail: clicks become a file and a mail with it, through refusals, broken connections and crashes.

    python3 tests/scenario/links_reports_test.py
"""
import collections
import email
import email.policy
import json
import pathlib
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import node as nodes  # noqa: E402
from links_node import CONFIG, LinksNode  # noqa: E402


def config(server, more=""):
    if not server.context:
        more += ", tls: off"
    return CONFIG.replace('base_url: "http://go.test" }', 'base_url: "http://go.test", reports: { mail_to: ["*@example.org"] } }\n'
                          f'  mail: {{ store: main, server: "{server.url}", from: links@example.com, from_name: "Bücher & Co", '
                          f'per_minute: 60000{more} }}')


class MailServer:
    """Speaks SMTP and keeps what it took. Each mail is met with the next of `fates`, then with "take":
    take, busy (451), refuse (550), drop (in the data), deaf (takes it, and hangs up before it says so), lie (no SMTP, and hangs up)."""

    def __init__(self, *fates, context=None, login=None):
        self.fates = collections.deque(fates)
        self.context = context
        self.login = login
        self.mails = []     # (recipient, message), also those of the deaf
        self.commands = []
        self.pause = threading.Event()  # while it is cleared, nothing is taken
        self.pause.set()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = "smtp%s://127.0.0.1:%d" % ("s" if context else "", self.listener.getsockname()[1])

    def __enter__(self):
        threading.Thread(target=self.serve, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.pause.set()
        self.listener.close()

    def serve(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.talk, args=(connection,), daemon=True).start()

    def talk(self, connection):
        try:
            if self.context:
                connection = self.context.wrap_socket(connection, server_side=True)
            with connection, connection.makefile("rwb") as stream:
                self.speak(stream)
        except (OSError, ValueError):
            pass

    def speak(self, stream):
        def say(text):
            stream.write(text.encode() + b"\r\n")
            stream.flush()
        say("220 mail.test")
        fate = None
        for line in stream:
            command = line.decode().rstrip("\r\n")
            self.commands.append(command)
            word = command.split(" ")[0].upper()
            if word == "EHLO":
                say("250-mail.test\r\n250-SIZE 10000000\r\n250 AUTH PLAIN" if self.login else "250 mail.test")
            elif word == "AUTH":
                say("334 ")
                self.commands.append(stream.readline().decode().rstrip("\r\n"))
                say("235 welcome" if self.commands[-1] == self.login else "535 no")
            elif word == "RCPT":
                self.pause.wait(60)
                fate = self.fates.popleft() if self.fates else "take"
                recipient = command.split("<")[1].split(">")[0]
                if fate == "lie":
                    say("HTTP/1.1 200 OK")
                    say("x" * 100_000)
                    return
                say({"busy": "451 try later", "refuse": "550 no such user here"}.get(fate, "250 ok"))
            elif word == "DATA":
                say("354 go on")
                data = b""
                for line in stream:
                    if line == b".\r\n":
                        break
                    if fate == "drop":
                        return
                    data += line[1:] if line.startswith(b".") else line
                else:
                    return
                self.mails.append((recipient, email.message_from_bytes(data, policy=email.policy.default)))
                if fate == "deaf":
                    return
                say("250 taken")
            else:
                say("221 bye" if word == "QUIT" else "250 ok")


@unittest.skipUnless(nodes.BINARY.exists(), f"{nodes.BINARY} is not built")
class Reports(unittest.TestCase):
    def clicks(self, node, code, count):
        for _ in range(count):
            node.follow(code)
        nodes.until(lambda: self.counted(node) >= count, "the clicks are counted", seconds=60)

    def counted(self, node):
        stats = node.api("GET", "/v1/stats")[2]
        return stats["clicks"] + stats["bots"]

    def ask(self, node, **wanted):
        status, headers, report = node.api("POST", "/v1/reports", wanted)
        self.assertEqual(status, 202, report)
        self.assertEqual(headers["location"], f"/v1/reports/{report['id']}")
        return report["id"]

    def ended(self, node, report):
        return nodes.until(lambda: (lambda it: it if it["state"] in ("done", "failed") else None)(
            node.api("GET", f"/v1/reports/{report}")[2]), "the report ends", seconds=60)

    def file(self, node, report):
        with node.client() as client:
            client.send(f"GET /v1/reports/{report}/file HTTP/1.1\r\nHost: go.test\r\n\r\n".encode())
            return client.answer()

    def dead(self, node):
        return subprocess.run([str(nodes.BINARY), "jobs", "ls", "--queue", "mail", "--json", "--control", "%s:%d" % node.control],
                              capture_output=True, text=True, timeout=nodes.PATIENCE).stdout

    def test_clicks_become_a_file_and_a_mail_with_it(self):
        with MailServer() as server, LinksNode(config(server)) as node:
            node.make("https://example.com/", alias="a", tags=["Grüße"])
            self.clicks(node, "a", 7)
            report = self.ask(node, tag="Grüße", bots="all", by=["day", "link", "source"], mail_to="ada@example.org")
            self.assertEqual(self.ended(node, report)["state"], "done")
            answer = self.file(node, report)
            self.assertIn(b"link,a,", answer.body)
            nodes.until(lambda: server.mails, "the mail comes", seconds=60)
            recipient, mail = server.mails[0]
            self.assertEqual(recipient, "ada@example.org")
            self.assertEqual(mail["to"], "ada@example.org")
            self.assertEqual(mail["from"].addresses[0].display_name, "Bücher & Co")
            self.assertEqual(mail["from"].addresses[0].addr_spec, "links@example.com")
            self.assertTrue(mail["subject"].startswith("Clicks of links tagged Grüße from "), mail["subject"])
            self.assertLess(abs(mail["date"].datetime.timestamp() - time.time()), 600)
            self.assertEqual(mail.defects, [])
            attached = list(mail.iter_attachments())
            self.assertEqual([one.get_filename() for one in attached], [f"report-{report}.csv"])
            self.assertEqual(attached[0].get_content().encode().replace(b"\r\n", b"\n"), answer.body.replace(b"\r\n", b"\n"))
            self.assertEqual(attached[0].get_payload(decode=True), answer.body)
            self.assertIn(f"http://go.test/v1/reports/{report}/file", mail.get_body(("plain",)).get_content())
            self.assertIn("<table>", mail.get_body(("html",)).get_content())

    def test_who_may_be_sent_a_report_is_configured(self):
        with MailServer() as server, LinksNode(config(server)) as node:
            status, _, problem = node.api("POST", "/v1/reports", {"mail_to": "eve@example.com"})
            self.assertEqual((status, problem["code"], problem["field"]), (403, "recipient_not_allowed", "mail_to"))
            status, _, problem = node.api("POST", "/v1/reports", {"mail_to": "a@example.org\r\nBcc: eve@example.com"})
            self.assertEqual((status, problem["field"]), (400, "mail_to"))
        with LinksNode() as node:
            self.assertEqual(node.api("POST", "/v1/reports", {"mail_to": "ada@example.org"})[0], 403)

    def test_what_may_pass_is_tried_again_with_the_same_message_id(self):
        with MailServer("busy", "drop", "lie", "deaf") as server, LinksNode(config(server)) as node:
            self.ended(node, self.ask(node, mail_to="ada@example.org"))
            nodes.until(lambda: len(server.mails) == 2, "the mail comes, again", seconds=120)
            ids = {mail["message-id"] for _, mail in server.mails}
            self.assertEqual(len(ids), 1)
            self.assertEqual(server.mails[0][1].as_bytes(), server.mails[1][1].as_bytes())

    def test_what_is_refused_for_good_is_told(self):
        with MailServer("refuse") as server, LinksNode(config(server)) as node:
            self.ended(node, self.ask(node, mail_to="nobody@example.org"))
            nodes.until(lambda: "550 no such user here" in self.dead(node), "the job is dead, and says why")
            self.assertEqual(server.mails, [])

    def test_a_crash_neither_loses_nor_doubles(self):
        with MailServer() as server, LinksNode(config(server)) as node:
            node.make("https://example.com/", alias="a")
            self.clicks(node, "a", 3)
            server.pause.clear()
            reports = []
            for round in range(4):
                reports += [self.ask(node, by=["day"], mail_to=f"r{round}-{i}@example.org") for i in range(3)]
                time.sleep(0.05 * round)  # another moment of their making each time
                node.kill()
                node.start()
            for report in reports:
                self.assertEqual(self.ended(node, report)["state"], "done")
            server.pause.set()
            wanted = {f"r{round}-{i}@example.org" for round in range(4) for i in range(3)}
            nodes.until(lambda: {to for to, _ in server.mails} == wanted, "all mails come", seconds=120)
            ids = collections.defaultdict(set)
            for to, mail in server.mails:
                ids[to].add(mail["message-id"])
            # Who got one twice can tell it by its id; nobody got two.
            self.assertEqual({to: len(its) for to, its in ids.items()}, {to: 1 for to in wanted})
            self.assertEqual(len(set.union(*ids.values())), len(wanted))

    @unittest.skipUnless(shutil.which("openssl"), "there is no openssl to make a certificate")
    def test_a_password_goes_over_tls_to_who_has_the_certificate(self):
        node = LinksNode(CONFIG)
        cert, key, other = (node.folder / name for name in ("cert.pem", "key.pem", "other.pem"))
        for file in (other, cert):
            subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1",
                            "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(file)],
                           check=True, capture_output=True)
        (node.folder / "password").write_text("secret\n")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(cert, key)
        with MailServer(context=context, login="AHVzZXIAc2VjcmV0") as server:
            login = f", user: user, password_file: {node.folder}/password, ca_file: {node.folder}/"
            node.write_config(config(server, login + "other.pem"))
            with node:
                self.ended(node, self.ask(node, mail_to="ada@example.org"))
                nodes.until(lambda: node.metric("trellis_queue_messages_total", topic="mail", event="retried") >= 1,
                            "the wrong certificate is refused", seconds=60)
                self.assertEqual(server.commands, [])
                node.write_config(config(server, login + "cert.pem"))
                node.reload()
                nodes.until(lambda: server.mails, "the mail comes", seconds=120)
                self.assertIn("AUTH PLAIN", server.commands)
                self.assertNotIn("secret", node.errors())
                self.assertNotIn("c2VjcmV0", node.errors())


if __name__ == "__main__":
    unittest.main()
