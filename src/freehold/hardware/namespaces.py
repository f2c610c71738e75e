"""Whether a worker can be put into a network namespace of its own, which is how it gets to have no network."""

from __future__ import annotations

import errno
import os
import sys
from dataclasses import dataclass
from pathlib import Path

from freehold.hardware.commands import Runner
from freehold.hardware.files import number

# What a worker does (user and network namespace, or as root the network alone), tried by a child because it cannot be undone.
_TRIAL = """
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
done = libc.unshare(0x10000000 | 0x40000000) == 0
first = ctypes.get_errno()
print(0 if done or libc.unshare(0x40000000) == 0 else first)
"""


@dataclass(frozen=True)
class Namespaces:
    """`reason` says why not, `remedy` what would change that; both are None when it works."""

    supported: bool
    reason: str | None = None
    remedy: str | None = None


def linux_namespaces(root: Path, run: Runner) -> Namespaces:
    """Tries it in a child process; a refusal is explained from the kernel's switches."""
    ran = run((sys.executable, "-I", "-S", "-c", _TRIAL))
    answer = ran.out.strip()
    if ran.code == 0 and answer == "0":
        return Namespaces(True)
    if ran.code != 0 or not answer.isdecimal():
        return Namespaces(False, f"the trial ended with {ran.code}", "Workers then share this machine's network.")
    return _explained(root, int(answer))


def _explained(root: Path, code: int) -> Namespaces:
    switches = (
        ("proc/sys/user/max_user_namespaces", 0, "sudo sysctl user.max_user_namespaces=10000"),
        ("proc/sys/user/max_net_namespaces", 0, "sudo sysctl user.max_net_namespaces=10000"),
        ("proc/sys/kernel/unprivileged_userns_clone", 0, "sudo sysctl kernel.unprivileged_userns_clone=1"),
        (
            "proc/sys/kernel/apparmor_restrict_unprivileged_userns",
            1,
            "sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0, or an AppArmor profile that allows `userns`",
        ),
    )
    for path, forbidding, remedy in switches:
        if number(root / path) == forbidding:
            name = path.removeprefix("proc/sys/").replace("/", ".")
            return Namespaces(False, f"{name} is {forbidding}", f"Allow it: {remedy}.")
    if code in (errno.EPERM, errno.EACCES):
        return Namespaces(
            False,
            "the system refuses it (EPERM), as containers do by default",
            "In a container, allow `unshare` in its seccomp profile; or keep the container itself off the network.",
        )
    return Namespaces(False, f"unshare: {os.strerror(code)}", "A kernel with user and network namespaces is needed.")
