"""The wall clock may jump: no timeout, and nothing else that waits, goes by it."""

from __future__ import annotations

import email.utils
import shutil
import subprocess
import time
from collections.abc import Iterator

import pytest

from tests.conftest import Server, fake_model, serving, until
from tests.gateway.wire import CHAT, Raw, directive, get, payload, post

# The wall clock of whatever is started with this library jumps an hour ahead or back, seven times a second.
SHIM = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <sys/time.h>
#include <time.h>

static int (*real)(clockid_t, struct timespec *);

static time_t jump(void) {
    struct timespec now;
    if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
    real(CLOCK_MONOTONIC, &now);
    return ((now.tv_sec * 1000 + now.tv_nsec / 1000000) / 130) % 2 ? 3600 : -3600;
}

int clock_gettime(clockid_t id, struct timespec *now) {
    time_t by = jump();
    int done = real(id, now);
    if (!done && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE)) now->tv_sec += by;
    return done;
}

int gettimeofday(struct timeval *now, void *zone) {
    struct timespec exact;
    int done = clock_gettime(CLOCK_REALTIME, &exact);
    now->tv_sec = exact.tv_sec;
    now->tv_usec = exact.tv_nsec / 1000;
    return done;
}

time_t time(time_t *out) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (out) *out = now.tv_sec;
    return now.tv_sec;
}
"""


@pytest.fixture(scope="module")
def jumping(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server whose wall clock is not to be relied on."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler, to make a clock that jumps")
    folder = tmp_path_factory.mktemp("clock")
    (folder / "shim.c").write_text(SHIM)
    shim = folder / "shim.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", shim, folder / "shim.c", "-ldl"], check=True)
    fake_model(folder, slots=2)
    environment = {
        "FREEHOLD_DEFAULT_CHAT": "fake",
        "FREEHOLD_DEFAULT_EMBEDDING": "fake",
        "FREEHOLD_TIMEOUTS_IDLE": "1.5",
        "FREEHOLD_TIMEOUTS_FIRST_TOKEN": "3",
        "FREEHOLD_TIMEOUTS_HEARTBEAT": "0.3",
        "FREEHOLD_QUEUE_TIMEOUT": "4",
        "FREEHOLD_MEMORY_KEEP_ALIVE": "600",
        "LD_PRELOAD": str(shim),
    }
    with serving(folder, env=environment) as running:
        yield running


def test_the_clock_does_jump(jumping: Server) -> None:
    """Else these tests would show nothing."""
    seen = set()

    def both() -> bool:
        told = email.utils.parsedate_to_datetime(jumping.get("/livez")[1]["date"])
        seen.add(round((told.timestamp() - time.time()) / 3600))
        return {-1, 1} <= seen

    until(both, 20)


def test_nothing_ends_early(jumping: Server) -> None:
    pid, restarts = (jumping.worker("fake")[key] for key in ("pid", "restarts"))
    slow = payload(directive(tokens=12, token_delay_s=0.2), stream=True)
    with Raw(jumping.port, get()) as kept, Raw(jumping.port, post(slow)) as first, Raw(jumping.port, post(slow)) as second:
        assert kept.answer()[0] == 200
        queued = jumping.chat("waits for its turn")  # as long as the streams last
        for stream in (first, second):
            status, _, body = stream.answer()
            assert status == 200
            assert b"error" not in body
            assert body.endswith(b"data: [DONE]\n\n")
        assert queued[0] == 200
        kept.send(get())
        assert kept.answer()[0] == 200
    worker = jumping.worker("fake")
    assert (worker["pid"], worker["restarts"], worker["state"]) == (pid, restarts, "ready")


def test_nothing_ends_late(jumping: Server) -> None:
    for text, limit in ((directive(hang=True), 3.0), (directive(tokens=3, headers_then_hang=True), 1.5)):
        began = time.monotonic()
        status, _, body = jumping.post(CHAT, payload(text, stream=True))
        assert status == 504 or "engine_timeout" in str(body)
        assert limit * 0.9 <= time.monotonic() - began < limit + 8
    until(lambda: jumping.worker("fake")["busy"] == 0)
