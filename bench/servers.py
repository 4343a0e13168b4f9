"""The servers that are measured: their configurations, written into a scratch folder, and their processes.

Everybody gets one worker on the same core, keep-alive on both sides, an access log that costs as little as the server allows
and no limit that the load would meet. Nothing listens outside 127.0.0.1.
"""
import json
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "build/release"
BODY = "f" * 100  # the fixed answer
TARGET = "https://example.com/an/article/with/a/long/path?and=a&query=string"


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def open_files():
    """The limit of open files that a server may have, after raising the soft one."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


class Server:
    """One process pinned to a core. `name` is what the table shows; `available` says whether it can run here."""

    binary = None

    def __init__(self, name, suite, folder, core, origin_port=0, files=None):
        self.name = name
        self.suite = suite
        self.folder = folder / name
        self.core = core
        self.origin_port = origin_port
        self.files = files
        self.process = None
        self.port = 0
        self.relay_port = 0  # of the suite "proxy": connections that are passed on unread
        self.output = None

    def available(self):
        return self.binary is not None and Path(self.binary).exists()

    def version(self):
        return ""

    def command(self):
        """Writes the configuration and returns the command that runs with it."""
        raise NotImplementedError

    def environment(self):
        return {}

    def start(self):
        self.folder.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self.relay_port = free_port()
        command = ["taskset", "-c", str(self.core), *self.command()]
        log = self.folder / "output.log"
        self.output = log.open("ab")
        self.process = subprocess.Popen(command, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=self.output,
                                        stderr=self.output, env={**os.environ, **self.environment()})
        deadline = time.monotonic() + 15
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                break
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                time.sleep(0.01)
        self.stop()
        sys.exit(f"{self.name} did not start:\n{log.read_text(errors='replace')[-4000:]}")

    def stop(self):
        if self.process is None:
            return
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.process = None
        self.output.close()

    def forget_logs(self):
        """Empties the logs: they are written for their cost, not to be read."""
        for log in self.folder.glob("*.log"):
            os.truncate(log, 0)

    @property
    def pid(self):
        return self.process.pid


class Origin(Server):
    binary = BUILD / "bench/trellis_origin"

    def command(self):
        return [str(self.binary), str(self.port)]


class Trellis(Server):
    binary = BUILD / "trellis"

    def __init__(self, name, *args, io=None, sets=(), **kwargs):
        super().__init__(name, *args, **kwargs)
        self.io = io
        self.sets = sets  # further --set

    def version(self):
        done = subprocess.run([self.binary, "version"], capture_output=True, text=True)
        return done.stdout.strip().split("\n")[0]

    def environment(self):
        return {"BENCH_PORT": str(self.port), "BENCH_RELAY": str(self.relay_port), "BENCH_CONTROL": str(free_port()), "BENCH_ORIGIN": str(self.origin_port),
                "BENCH_DIR": str(self.folder), "BENCH_FILES": str(self.files), "BENCH_BODY": BODY}

    def command(self):
        command = [str(self.binary), "run", str(ROOT / f"bench/configs/{self.suite}.yaml")]
        if self.io:
            command += ["--set", f"runtime.io={self.io}"]
        for one in self.sets:
            command += ["--set", one]
        return command


class Nginx(Server):
    binary = "/usr/sbin/nginx"

    def version(self):
        done = subprocess.run([self.binary, "-v"], capture_output=True, text=True)
        return done.stderr.strip().replace("nginx version: ", "")

    def command(self):
        limit = open_files()
        config = f"""
{"load_module /usr/lib/nginx/modules/ngx_stream_module.so;" if self.suite == "proxy" else ""}
{"user root;" if os.geteuid() == 0 else ""}
worker_processes 1;
worker_rlimit_nofile {limit};
daemon off;
pid {self.folder}/nginx.pid;
error_log {self.folder}/error.log error;
events {{ worker_connections {limit - 200}; multi_accept on; }}
http {{
  types {{ text/plain txt; }}
  default_type text/plain;
  access_log {self.folder}/access.log combined buffer=64k flush=1s;
  sendfile on;
  tcp_nopush on;
  tcp_nodelay on;
  keepalive_timeout 300s;
  keepalive_requests 100000000;
  reset_timedout_connection on;
  open_file_cache max=1000 inactive=60s;
  open_file_cache_valid 30s;
  client_body_buffer_size 64k;
  client_body_temp_path {self.folder}/body;
  proxy_temp_path {self.folder}/proxy;
  fastcgi_temp_path {self.folder}/fastcgi;
  uwsgi_temp_path {self.folder}/uwsgi;
  scgi_temp_path {self.folder}/scgi;
  {self.whole()}
  upstream origin {{ server 127.0.0.1:{self.origin_port or 9}; keepalive 256; keepalive_requests 100000000; }}
  server {{
    listen 127.0.0.1:{self.port} backlog=4096;
    {self.links() if self.suite == "links" else self.locations()}
  }}
}}
{self.relay() if self.suite == "proxy" else ""}
"""
        path = self.folder / "nginx.conf"
        path.write_text(config)
        return [self.binary, "-e", f"{self.folder}/error.log", "-p", str(self.folder), "-c", str(path)]

    def whole(self):
        """What a suite adds for all of its sites."""
        return ""

    def links(self):
        return f'location / {{ add_header Cache-Control "private, max-age=0"; return 302 {TARGET}; }}'

    def locations(self):
        return f"""
    location = /fixed {{ return 200 "{BODY}"; }}
    location = /status {{ stub_status; }}
    location = /echo {{
      proxy_pass http://origin;
      proxy_http_version 1.1;
      proxy_set_header Connection "upgrade";
      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Host $host;
      proxy_read_timeout 300s;
    }}
    location /files/ {{ alias {self.files}/; }}
    location / {{
      proxy_pass http://origin;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_set_header Host $host;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      proxy_set_header X-Forwarded-Proto $scheme;
      proxy_buffer_size 16k;
      proxy_buffers 8 32k;
      proxy_busy_buffers_size 64k;
    }}"""


    def relay(self):
        return f"""
stream {{
  log_format relay '$remote_addr [$time_local] $protocol $status $bytes_sent $bytes_received $session_time "$upstream_addr"';
  access_log {self.folder}/relay.log relay buffer=64k flush=1s;
  tcp_nodelay on;
  proxy_buffer_size 64k;
  server {{ listen 127.0.0.1:{self.relay_port} backlog=4096; proxy_pass 127.0.0.1:{self.origin_port or 9}; }}
}}"""


class Haproxy(Server):
    binary = "/usr/sbin/haproxy"

    def __init__(self, name, *args, buffer=16384, **kwargs):
        super().__init__(name, *args, **kwargs)
        self.buffer = buffer  # 16 KiB is its default; an answer of 64 KiB passes it in fewer steps with more

    def version(self):
        done = subprocess.run([self.binary, "-v"], capture_output=True, text=True)
        return " ".join(done.stdout.split("\n")[0].split()[:3])

    def command(self):
        # Two descriptors a connection; and a log into memory, since HAProxy writes no files and a datagram for each request
        # would cost it more.
        most = open_files() // 2 + 100
        config = f"""
global
  nbthread 1
  maxconn {most}
  no strict-limits
  tune.bufsize {self.buffer}
  log ring@access local0
ring access
  format rfc3164
  maxlen 1200
  size 1048576
defaults
  mode http
  log global
  option httplog
  option dontlognull
  option forwardfor
  http-reuse always
  timeout connect 5s
  timeout client 300s
  timeout server 60s
  timeout http-keep-alive 300s
{self.whole()}
frontend web
  bind 127.0.0.1:{self.port} backlog 4096
  maxconn {most}
  http-request return status 200 content-type text/plain string "{BODY}" if {{ path /fixed }}
  http-request wait-for-body time 60s if {{ path /slow }}
  default_backend origin
listen relay
  mode tcp
  option tcplog
  bind 127.0.0.1:{self.relay_port} backlog 4096
  maxconn {most}
  server origin 127.0.0.1:{self.origin_port or 9} maxconn 1000
backend origin
  {self.at_the_origin()}
  server origin 127.0.0.1:{self.origin_port or 9} maxconn 1000 pool-max-conn 256
"""
        path = self.folder / "haproxy.cfg"
        path.write_text(config)
        return [self.binary, "-db", "-f", str(path)]

    def whole(self):
        """What a suite adds in front of all."""
        return ""

    def at_the_origin(self):
        """What a suite adds to the backend."""
        return ""


class Redis(Server):
    """Durable: every write is on disk before it is answered. `fresh` begins with an empty folder."""

    binary = "/usr/bin/redis-server"

    def __init__(self, folder, core, durable=True):
        super().__init__("redis", "redis", folder, core)
        self.durable = durable

    def version(self):
        done = subprocess.run([self.binary, "--version"], capture_output=True, text=True)
        return " ".join(done.stdout.split()[:3])

    def command(self):
        durable = ["--appendonly", "yes", "--appendfsync", "always", "--auto-aof-rewrite-percentage", "0"]
        return [self.binary, "--bind", "127.0.0.1", "--port", str(self.port), "--dir", str(self.folder), "--save", "",
                *(durable if self.durable else [])]

    def fresh(self):
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)
        self.start()

    def ask(self, *words):
        with socket.create_connection(("127.0.0.1", self.port), 10) as connection:
            text = f"*{len(words)}\r\n" + "".join(f"${len(word)}\r\n{word}\r\n" for word in words)
            connection.sendall(text.encode())
            answer = connection.recv(65536)
        if answer.startswith(b"-"):
            sys.exit(f"redis: {' '.join(words)}: {answer.decode(errors='replace')}")
        return answer


class Nats(Server):
    """JetStream with a stream of the subject "bench". Debian 12's does not know `sync_interval`: it acknowledges what the
    kernel has and syncs every two minutes."""

    binary = "/usr/sbin/nats-server"

    def __init__(self, folder, core):
        super().__init__("nats", "nats", folder, core)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.durable = False
        if self.available():
            self.durable = subprocess.run([self.binary, "-t", "-c", str(self.config(9, True))], capture_output=True).returncode == 0

    def version(self):
        done = subprocess.run([self.binary, "--version"], capture_output=True, text=True)
        return done.stdout.strip()

    def config(self, port, durable):
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / "nats.conf"
        sync = "sync_interval: always" if durable else ""
        path.write_text(f'host: "127.0.0.1"\nport: {port}\njetstream {{\n  store_dir: "{self.folder}/store"\n  {sync}\n}}\n')
        return path

    def command(self):
        return [self.binary, "-c", str(self.config(self.port, self.durable))]

    def fresh(self):
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)
        self.start()
        stream = json.dumps({"name": "BENCH", "subjects": ["bench"], "storage": "file", "retention": "limits"})
        with socket.create_connection(("127.0.0.1", self.port), 10) as connection, connection.makefile("rb") as lines:
            lines.readline()  # INFO
            connection.sendall(f'CONNECT {{"verbose":false}}\r\nSUB _INBOX.made 1\r\nPUB $JS.API.STREAM.CREATE.BENCH _INBOX.made '
                               f'{len(stream)}\r\n{stream}\r\n'.encode())
            lines.readline()  # MSG
            answer = lines.readline()
        if b'"did_create":true' not in answer:
            sys.exit(f"nats: the stream was not made: {answer.decode(errors='replace')}")
