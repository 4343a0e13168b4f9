"""The caches that script/bench edge-cache compares: nginx, HAProxy and Varnish as servers.py runs them, each with as much memory
as ours or a disk as large."""
import re
import subprocess

from servers import Haproxy, Nginx, Server

MEMORY_MIB = 512  # of all caches that are measured from memory
DISK_MIB = 4096


class CachingNginx(Nginx):
    """Its cache lies in files, and hits come from the kernel's page cache."""

    def whole(self):
        return (f"proxy_cache_path {self.folder}/cache levels=1:2 keys_zone=bench:64m max_size={DISK_MIB}m inactive=60m "
                "use_temp_path=off;")

    def locations(self):
        return """
    location = /status { stub_status; }
    location / {
      proxy_pass http://origin;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_set_header Host $host;
      proxy_buffer_size 16k;
      proxy_buffers 8 32k;
      proxy_busy_buffers_size 64k;
      proxy_cache bench;
      proxy_cache_lock on;
      proxy_cache_use_stale updating error timeout;
      proxy_cache_background_update on;
      add_header X-Cache-Status $upstream_cache_status;
    }"""


class CachingHaproxy(Haproxy):
    def whole(self):
        return f"""
cache bench
  total-max-size {MEMORY_MIB}
  max-object-size {2 << 20}
  max-age 3600
"""

    def at_the_origin(self):
        return """http-request cache-use bench
  http-response cache-store bench
"""


class Varnish(Server):
    """`storage`: as -s takes it. Its log lies in shared memory, and nobody reads it."""

    binary = "/usr/sbin/varnishd"

    def __init__(self, name, *args, storage=f"malloc,{MEMORY_MIB}m", **kwargs):
        super().__init__(name, *args, **kwargs)
        self.storage = storage

    def version(self):
        done = subprocess.run([self.binary, "-V"], capture_output=True, text=True)
        return " ".join(re.findall(r"varnish-[0-9.]+", done.stderr)[:1])

    def command(self):
        path = self.folder / "bench.vcl"
        path.write_text(f"""vcl 4.1;
backend default {{ .host = "127.0.0.1"; .port = "{self.origin_port}"; }}
""")
        return [self.binary, "-F", "-j", "none", "-n", str(self.folder / "work"), "-a", f"127.0.0.1:{self.port}", "-f", str(path),
                "-s", self.storage.replace("FOLDER", str(self.folder)), "-T", "none", "-p", "thread_pools=1", "-p", "thread_pool_min=200",
                "-p", "thread_pool_max=2000", "-p", "timeout_idle=300"]
