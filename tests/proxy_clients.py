"""Programs that go through proxies, and what they go to: curl, git, ssh and its server.

None of them looks at the settings of whoever runs the tests.
"""

from __future__ import annotations

import getpass
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from harness import NULL, PATIENCE, Program, Result, free_port
from plain_peer import HERE
from proxy_servers import end_all, installed
from tls_peers import listening_port
from web_servers import ROMEO

# Where sshd, started as root, wants a directory; the package's own service makes it as well.
RUN_SSHD = Path("/run/sshd")
SSHD = """\
ListenAddress {here}
Port {port}
HostKey {directory}/host_key
AuthorizedKeysFile {directory}/key.pub
PidFile none
StrictModes no
"""
GIT = {
    "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1", "GIT_TERMINAL_PROMPT": "0",
    "GIT_AUTHOR_NAME": "Bob", "GIT_AUTHOR_EMAIL": "bob@localhost",
    "GIT_COMMITTER_NAME": "Bob", "GIT_COMMITTER_EMAIL": "bob@localhost",
}  # fmt: skip


def curl(*args: str, **how: Any) -> Result:
    """What curl makes of `args`; only the proxy among them is used, also to loopback."""
    argv = (installed("curl", "curl"), "-q", "-sS", "--noproxy", "", *args)
    with Program(*argv, **how) as program:
        return program.finish()


def git(*args: str, env: dict[str, str] | None = None, **how: Any) -> Result:
    with Program(installed("git", "git"), *args, env={**GIT, **(env or {})}, **how) as program:
        return program.finish()


def make_repository(directory: Path) -> Path:
    """`directory`/poem.git with romeo.txt, as a plain web server can serve it."""
    repository, work = directory / "poem.git", directory / "work"
    git("init", "-q", "-b", "main", f"{work}")
    (work / "romeo.txt").write_text(ROMEO)
    git("add", "romeo.txt", cwd=work)
    git("commit", "-q", "-m", "A poem", cwd=work)
    git("clone", "-q", "--bare", f"{work}", f"{repository}")
    git("update-server-info", cwd=repository)
    return repository


class Account(NamedTuple):
    """One's own account on an sshd that lets nobody in without a key in `directory`."""

    directory: Path
    port: int

    def ssh(self, *options: str) -> list[str]:
        """The command that logs in there; what is to be done there comes behind."""
        known = f"UserKnownHostsFile={self.directory / 'known_hosts'}"
        key = f"{self.directory / 'key'}"
        how = ["-F", "none", "-i", key, "-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes"]
        place = ["-p", f"{self.port}", "-l", getpass.getuser(), HERE]
        return [installed("ssh", "openssh-client"), *how, "-o", known, *options, *place]


@contextmanager
def sshd(directory: Path) -> Iterator[Account]:
    """OpenSSH's server, with keys of its own in `directory`."""
    program = installed("sshd", "openssh-server")
    if os.geteuid() == 0:
        RUN_SSHD.mkdir(mode=0o755, exist_ok=True)
    account = Account(directory, free_port())
    for name in ("host_key", "key"):
        make_key(directory / name)
    public = (directory / "host_key.pub").read_text()
    (directory / "known_hosts").write_text(f"[{HERE}]:{account.port} {public}")
    configuration = directory / "sshd_config"
    configuration.write_text(SSHD.format(here=HERE, port=account.port, directory=directory))
    with Program(program, "-D", "-e", "-f", f"{configuration}", start_new_session=True) as running:
        try:
            listening_port(running)
            yield account
        finally:
            end_all(running)


def make_key(path: Path) -> None:
    argv = [installed("ssh-keygen", "openssh-client"), "-q", "-t", "ed25519", "-N", ""]
    subprocess.run([*argv, "-f", f"{path}"], stdin=NULL, check=True, timeout=PATIENCE)
