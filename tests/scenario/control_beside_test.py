#!/usr/bin/env python3
"""A control port on an address of a network, in a network namespace of its own: steered over loopback all the same.

    python3 -m pytest tests/scenario/control_beside_test.py
"""
import pathlib
import shutil
import subprocess
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import node  # noqa: E402

SCRIPT = """
set -u
ip link set lo up && ip address add 10.9.9.8/32 dev lo && ip address add 10.9.9.9/32 dev lo || exit 77
steer() { "$TRELLIS" ctl status --control "$1" --json >"$1.out" 2>"$1.err"; }
begin() {  # NAME ADDRESS
  printf 'node: %s\\ncontrol: { bind: "%s:9900", token_file: ./token }\\nlisteners: { web: { bind: "127.0.0.1:0" } }\\n' "$1" "$2" >"$1.yaml"
  printf 'routes: [ { match: { path: /** }, to: { fixed: { status: 200, body: ok } } } ]\\n' >>"$1.yaml"
  "$TRELLIS" run "$1.yaml" >"$1.log" 2>&1 &
  pids="$pids $!"
}
pids=
begin first 10.9.9.9
for try in $(seq 1 300); do steer 127.0.0.1:9900 && break; sleep 0.1; done
steer 127.0.0.1:9900; echo "loopback $?"
steer 10.9.9.9:9900; echo "network $?"
# Its port is taken on loopback: it works, and says so.
begin second 10.9.9.8
for try in $(seq 1 300); do grep -q "taken on loopback" second.log && break; sleep 0.1; done
grep -c "taken on loopback" second.log
"$TRELLIS" check clash.yaml; echo "check $?"
kill $pids; wait $pids; echo "ended $?"
"""
CLASH = """\
control: { bind: "10.9.9.9:9900", token_file: ./token }
listeners: { web: { bind: "127.0.0.1:9900" } }
routes: [ { match: { path: /** }, to: { fixed: { status: 200, body: ok } } } ]
"""


def test_a_node_on_an_address_of_a_network_is_steered_over_loopback(tmp_path):
    inside = ["unshare", "--user", "--map-root-user", "--net"]
    if shutil.which("ip") is None or subprocess.run([*inside, "true"], capture_output=True).returncode != 0:
        pytest.skip("network namespaces are not to be had here")
    (tmp_path / "token").write_text("0123456789abcdef0123456789abcdef")
    (tmp_path / "clash.yaml").write_text(CLASH)
    done = subprocess.run([*inside, "sh", "-c", SCRIPT], cwd=tmp_path, capture_output=True, text=True, timeout=120,
                          env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "TRELLIS": str(node.BINARY)})
    if done.returncode == 77:
        pytest.skip("addresses cannot be added here")
    lines = done.stdout.splitlines()
    said = done.stdout + done.stderr + "".join(path.read_text() for path in tmp_path.glob("*.log"))
    assert lines[0] == "loopback 0", said
    assert lines[1] != "network 0", said  # the machine comes as a stranger there, and has no token
    assert lines[2] == "1", said
    assert "the same address" in said and "check 1" in lines, said
    assert lines[-1] == "ended 0", said
