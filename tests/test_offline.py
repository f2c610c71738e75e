"""With the models on disk, nothing needs a network: a server in a namespace without any route serves all the same."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.parts import environment
from tests.conftest import FREEHOLD

_SCRIPT = """
ip link set lo up 2>/dev/null || {python} - <<'EOF'
import fcntl, socket, struct
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
    fcntl.ioctl(s, 0x8914, struct.pack("16sH14x", b"lo", 1 | 64))
EOF
{python} - <<'EOF'
import socket, sys
try:
    socket.create_connection(("192.0.2.1", 80), 2)
except OSError:
    pass
else:
    sys.exit("there is a route")
EOF
{freehold} up --port 18080 --data-dir {data} >{log} 2>&1 &
pid=$!
trap 'kill $pid; wait $pid' EXIT
for attempt in $(seq 300); do
    grep -q "Freehold is ready" {log} && break
    kill -0 $pid || exit 3
    sleep 0.1
done
export FREEHOLD_URL=http://127.0.0.1:18080
{freehold} chat "Say hello." --max-tokens 8 --temperature 0 || exit 4
{python} - <<'EOF' || exit 5
from openai import OpenAI
client = OpenAI(base_url="http://127.0.0.1:18080/v1", api_key="none")
assert len(client.embeddings.create(model="text-embedding-3-small", input="hello").data[0].embedding) == 384
EOF
{freehold} ps && {freehold} list
"""


def test_a_server_without_a_network_serves(tmp_path: Path, starters: Path) -> None:
    if subprocess.run(["unshare", "-rn", "true"], capture_output=True, check=False).returncode:
        pytest.skip("this system allows no network namespaces")
    log = tmp_path / "log"
    script = _SCRIPT.format(python=sys.executable, freehold=FREEHOLD, data=starters, log=log)
    done = subprocess.run(
        ["unshare", "-rn", "bash", "-c", script],
        env=environment(tmp_path, {"FREEHOLD_STARTER": "false"}),
        capture_output=True,
        check=False,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr + log.read_text()
    assert "smollm2:135m" in done.stdout
