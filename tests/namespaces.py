"""Networks of a test's own: a network namespace, in which programs run.

    with Namespace(DROPPING) as network:
        with network.program(*PYNC, "-z", "10.9.0.2", "80") as pync: ...

Nothing in one can be seen from outside, and no packet of it leaves the machine.
"""

from __future__ import annotations

import shutil
import subprocess
from typing import Any

import pytest
from harness import NULL, PIPE, PYNC, Program

# A link whose far end takes all that comes and answers nothing.
DROPPING = """
ip link add near type veth peer name far
ip link set near up arp off
ip link set far up arp off
ip address add 10.9.0.1/24 dev near
"""
SILENT = "10.9.0.2"
DROPPING_IPV6 = f"{DROPPING}ip address add 2001:db8:9::1/64 dev near nodad"
SILENT_IPV6 = "2001:db8:9::2"

NEEDED = {"unshare": "util-linux", "nsenter": "util-linux", "ip": "iproute2"}


def why_not() -> str:
    """Why there can be none here; nothing if there can."""
    for program, package in NEEDED.items():
        if not shutil.which(program):
            return f"{program} is not installed (Debian: {package})"
    tried = subprocess.run(
        ["unshare", "--net", "ip", "link", "set", "lo", "up"],
        check=False, stdin=NULL, capture_output=True,
    )  # fmt: skip
    return "network namespaces are not allowed here" if tried.returncode else ""


class Namespace:
    """loopback, and what the shell script `network` makes.  Skips the test where there is none."""

    def __init__(self, network: str = "") -> None:
        if why := why_not():
            pytest.skip(why)
        script = f"set -e; ip link set lo up; {network}\necho ready; exec cat"
        self._keeper = Program("unshare", "--net", "sh", "-c", script, stdin=PIPE)

    def __enter__(self) -> Namespace:
        self._keeper.__enter__()
        self._keeper.expect("ready", "out")
        return self

    def __exit__(self, *exception: object) -> None:
        self._keeper.__exit__(*exception)

    @property
    def pid(self) -> int:
        """Of a process in it."""
        return self._keeper.pid

    def program(self, *argv: str, **how: Any) -> Program:
        """Start a program in it."""
        return Program("nsenter", f"--net=/proc/{self._keeper.pid}/ns/net", *argv, **how)

    def pync(self, *words: object, **how: Any) -> Program:
        return self.program(*PYNC, *map(str, words), **how)
