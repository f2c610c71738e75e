"""The listening socket, bound before anything slow is imported: who connects meanwhile waits, and is not refused."""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import resource
import socket

from freehold.errors import StartError
from freehold.settings import Settings


def is_loopback(host: str) -> bool:
    """Whether a bind address reaches this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def refuse_unsafe_bind(settings: Settings) -> None:
    """Raises StartError for an address that others can reach while no key is set."""
    if settings.api_key is None and not is_loopback(settings.host):
        raise StartError(
            f"Listening on {settings.host} would open this server to the network without a key.",
            "Set one with --api-key or FREEHOLD_API_KEY, or listen on 127.0.0.1.",
        )


def bind_all(settings: Settings) -> list[socket.socket]:
    """The listening sockets, that of `port` first. Raises StartError for an unsafe, taken or impossible address."""
    refuse_unsafe_bind(settings)
    listeners = [_bind(settings, settings.port)]
    if settings.ollama_port:
        try:
            listeners.append(_bind(settings, settings.ollama_port))
        except StartError:
            listeners[0].close()
            raise
    return listeners


def _bind(settings: Settings, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((settings.host, port))
        listener.listen(2048)
    except OSError as error:
        listener.close()
        if isinstance(error, PermissionError):
            raise StartError(f"Port {port} needs privileges.", "Choose one above 1023: --port 8080.") from None
        if error.errno == errno.EADDRINUSE:
            raise StartError(
                f"Port {port} is taken by another program.",
                f"Stop it, or choose another: --port {port + 1}."
                if port == settings.port
                else "Stop it (Ollama itself, perhaps), or choose another `ollama_port`.",
            ) from None
        raise StartError(f"Cannot listen on {settings.host}: {error.strerror or error}.", "Check --host.") from None
    listener.setblocking(False)
    return listener


def most_connections(settings: Settings) -> int:
    """How many clients' connections may be open at a time: as set, or as many as the system grants files for.

    Raises this process's own limit of open files to what it may; a part is left to workers, logs and models.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(ValueError, OSError):  # macOS says "unlimited", and means less
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    granted = settings.http.max_connections if soft == resource.RLIM_INFINITY else soft - min(2048, soft // 4)
    return max(1, min(settings.http.max_connections, granted))
