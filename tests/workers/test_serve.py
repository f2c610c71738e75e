"""What our own workers share: a slot that is busy for long keeps nothing else waiting."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import httpx

from tests.conftest import until

SLOTS = 40
PROGRAM = """
import asyncio, sys, threading
from starlette.responses import JSONResponse
from starlette.routing import Route
from freehold.workers.serve import WorkerConfig, serve, while_wanted

busy = set()

async def work(request):
    await request.body()
    ended = threading.Event()
    busy.add(ended)
    await while_wanted(request, ended.wait, ended.set)
    busy.remove(ended)
    return JSONResponse(None)

async def count(request):
    return JSONResponse(len(busy))

async def ready():
    await asyncio.to_thread(int)

serve(WorkerConfig("w", sys.argv[1], "e", slots=int(sys.argv[2])), [Route("/work", work), Route("/count", count)], ready)
"""


async def test_every_slot_may_be_busy_and_who_leaves_ends_the_work(tmp_path: Path) -> None:
    socket = tmp_path / "worker.sock"
    with subprocess.Popen([sys.executable, "-c", PROGRAM, str(socket), str(SLOTS)]) as process:
        try:
            until(lambda: socket.exists() or process.poll() is not None)
            limits = httpx.Limits(max_connections=None)
            async with httpx.AsyncClient(
                transport=httpx.AsyncHTTPTransport(uds=str(socket), limits=limits), timeout=30
            ) as client:
                working = [asyncio.create_task(client.get("http://w/work")) for _ in range(SLOTS)]
                await counted(client, SLOTS)
                assert (await client.post("http://w/ready")).status_code == 200
                for each in working:
                    each.cancel()
                await asyncio.gather(*working, return_exceptions=True)
                await counted(client, 0)
        finally:
            process.kill()


async def counted(client: httpx.AsyncClient, busy: int) -> None:
    async with asyncio.timeout(30):
        while (await client.get("http://w/count")).json() != busy:
            await asyncio.sleep(0.02)
