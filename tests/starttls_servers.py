"""Servers from Debian that begin in plain words and go on in TLS, one for each protocol.

    with serving("imap", authority.leaf["valid"]) as port:
        ...

Each has a configuration of its own in a directory of its own, stays in the foreground, and
needs nothing of what its package has set up but users.  Where the tests run as root, those
that root need not start are nobody's.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from string import Template
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import pytest
from authority import Leaf
from harness import NULL, Program, free_port
from plain_peer import HERE
from tls_peers import listening_port

ROOT = os.geteuid() == 0
NOBODY = pwd.getpwnam("nobody")
PLACES = ["/usr/sbin", "/usr/bin", "/usr/lib/postfix/sbin"]
PLACES += map(str, sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True))


class Home:
    """The directory of a server that listens on `port`, with TLS if it has a `leaf` to show.

    who: as whom the server is started, for subprocess.
    """

    def __init__(self, path: Path, leaf: Leaf | None, as_root: bool) -> None:
        self.path = path
        self.port = free_port()
        self.tls = leaf is not None
        self.who: dict[str, Any] = {}
        path.chmod(0o755)
        if ROOT and not as_root:
            self.who = {"user": NOBODY.pw_uid, "group": NOBODY.pw_gid, "extra_groups": []}
            self.own(path)
        if leaf:
            self.write("chain.pem", leaf.chain.read_text())
            self.write("key.pem", leaf.key.read_text()).chmod(0o600)

    def own(self, path: Path) -> Path:
        """Give it to whom the server is started as."""
        if self.who:
            os.chown(path, self.who["user"], self.who["group"])
        return path

    def write(self, name: str, text: str) -> Path:
        path = self.path / name
        path.write_text(text)
        return self.own(path)

    def configure(self, name: str, always: str, tls: str, plain: str = "", **more: str) -> Path:
        """Write a configuration: what it always has, and what it has with TLS or without.

        In it $home, $here, $port and those in `more` stand for what they say.
        """
        text = Template(always + (tls if self.tls else plain))
        return self.write(name, text.substitute(more, home=self.path, here=HERE, port=self.port))


class Server(NamedTuple):
    """package: Debian's.  set_up: prepares a home; the command that starts the server in it.

    as_root: whether it starts as root alone, and gives that up where it should by itself.
    ready: what it says, where it listens before it serves.  stop: the signal for it and its
    children, SIGKILL where one that is asked to end takes seconds.
    """

    package: str
    program: str
    set_up: Callable[[str, Home], list[str]]
    as_root: bool = False
    ready: str = ""
    stop: int = signal.SIGTERM


POSTFIX = """\
inet_interfaces = $here
inet_protocols = ipv4
myhostname = localhost
local_recipient_maps =
smtpd_relay_restrictions = reject
queue_directory = $home/queue
data_directory = $home/data
maillog_file = /dev/stdout
"""
POSTFIX_TLS = """\
smtpd_tls_security_level = may
smtpd_tls_cert_file = $home/chain.pem
smtpd_tls_key_file = $home/key.pem
"""
POSTFIX_SERVICES = """\
$here:$port inet n - n - - smtpd
anvil unix - - n - 1 anvil
tlsmgr unix - - n - 1 tlsmgr
postlog unix-dgram n - n - 1 postlogd
"""


def postfix(program: str, home: Home) -> list[str]:
    for folder in ("queue/pid", "queue/public", "queue/private", "data"):
        (home.path / folder).mkdir(parents=True)
        shutil.chown(home.path / folder, "postfix")
    configuration = home.configure("main.cf", POSTFIX, POSTFIX_TLS)
    os.utime(configuration, (0, 0))  # it waits until nobody is likely to be writing it still
    home.configure("master.cf", POSTFIX_SERVICES, tls="")
    return [program, "-d", "-c", f"{home.path}"]


DOVECOT = """\
base_dir = $home/run
state_dir = $home/state
log_path = /dev/stderr
listen = $here
protocols = $protocol
passdb {
  driver = static
  args = nopassword=y
}
service $service {
  inet_listener $protocol {
    port = $port
  }
  inet_listener ${protocol}s {
    port = 0
  }
}
"""
DOVECOT_TLS = """\
ssl_cert = <$home/chain.pem
ssl_key = <$home/key.pem
"""


def dovecot(protocol: str, service: str, package: str) -> Server:
    def set_up(program: str, home: Home) -> list[str]:
        configuration = home.configure(
            "dovecot.conf", DOVECOT, DOVECOT_TLS, "ssl = no\n", protocol=protocol, service=service
        )
        return [program, "-F", "-c", f"{configuration}"]

    return Server(package, "dovecot", set_up, as_root=True, stop=signal.SIGKILL)


# Its sandbox knows fewer system calls than the C library and OpenSSL make today.
VSFTPD = """\
listen=YES
background=NO
listen_address=$here
listen_port=$port
secure_chroot_dir=$home/empty
seccomp_sandbox=NO
"""
VSFTPD_TLS = """\
ssl_enable=YES
ssl_ciphers=HIGH
rsa_cert_file=$home/chain.pem
rsa_private_key_file=$home/key.pem
"""


def vsftpd(program: str, home: Home) -> list[str]:
    (home.path / "empty").mkdir()
    return [program, f"{home.configure('vsftpd.conf', VSFTPD, VSFTPD_TLS)}"]


SLAPD_TLS = """\
TLSCertificateFile $home/chain.pem
TLSCertificateKeyFile $home/key.pem
"""


def slapd(program: str, home: Home) -> list[str]:
    configuration = home.configure("slapd.conf", "", SLAPD_TLS)
    return [program, "-d", "0", "-f", f"{configuration}", "-h", f"ldap://{HERE}:{home.port}/"]


POSTGRES = """\
listen_addresses = '$here'
port = $port
unix_socket_directories = ''
"""
POSTGRES_TLS = """\
ssl = on
ssl_cert_file = '$home/chain.pem'
ssl_key_file = '$home/key.pem'
"""


def postgres(program: str, home: Home) -> list[str]:
    data = home.path / "data"
    initdb = [f"{Path(program).with_name('initdb')}", "--no-sync", "--no-locale"]
    initdb += ["--auth=trust", "--username=pync", f"{data}"]
    subprocess.run(initdb, stdin=NULL, stdout=NULL, check=True, cwd=home.path, **home.who)
    configuration = home.configure("postgresql.conf", POSTGRES, POSTGRES_TLS)
    return [program, "-D", f"{data}", f"--config-file={configuration}"]


MARIADB = """\
[mariadbd]
datadir = $home
pid_file = $home/pid
socket = $home/socket
bind_address = $here
port = $port
skip_grant_tables
skip_innodb
default_storage_engine = Aria
"""
MARIADB_TLS = """\
ssl_cert = $home/chain.pem
ssl_key = $home/key.pem
"""


def mariadb(program: str, home: Home) -> list[str]:
    return [program, f"--defaults-file={home.configure('my.cnf', MARIADB, MARIADB_TLS)}"]


PROSODY = """\
pidfile = "$home/pid"
data_path = "$home"
interfaces = { "$here" }
c2s_ports = { $port }
modules_enabled = { "saslauth", "tls" }
log = { info = "*console" }
"""
PROSODY_TLS = """\
modules_disabled = { "s2s" }
ssl = { certificate = "$home/chain.pem", key = "$home/key.pem" }
"""
PROSODY_PLAIN = """\
modules_disabled = { "s2s", "tls" }
c2s_require_encryption = false
"""
PROSODY_HOSTS = """\
VirtualHost "localhost"
VirtualHost "other.example"
"""


def prosody(program: str, home: Home) -> list[str]:
    configuration = home.configure(
        "prosody.cfg.lua", PROSODY, PROSODY_TLS + PROSODY_HOSTS, PROSODY_PLAIN + PROSODY_HOSTS
    )
    return [program, "-F", "--config", f"{configuration}"]


SERVERS = {
    "smtp": Server("postfix", "master", postfix, as_root=True, stop=signal.SIGKILL),
    "lmtp": dovecot("lmtp", "lmtp", "dovecot-lmtpd"),
    "imap": dovecot("imap", "imap-login", "dovecot-imapd"),
    "pop3": dovecot("pop3", "pop3-login", "dovecot-pop3d"),
    "sieve": dovecot("sieve", "managesieve-login", "dovecot-managesieved"),
    "ftp": Server("vsftpd", "vsftpd", vsftpd, as_root=True),
    "ldap": Server("slapd", "slapd", slapd),
    "postgres": Server("postgresql", "postgres", postgres, ready="ready to accept connections"),
    "mysql": Server("mariadb-server-core", "mariadbd", mariadb),
    "xmpp": Server("prosody", "prosody", prosody),
}


@contextmanager
def serving(protocol: str, leaf: Leaf | None) -> Iterator[int]:
    """The server, which offers TLS if it has something to show; its port."""
    server = SERVERS[protocol]
    program = shutil.which(server.program, path=os.pathsep.join(PLACES))
    if not program:
        pytest.skip(f"{server.program} is not installed (Debian: {server.package})")
    if server.as_root and not ROOT:
        pytest.skip(f"{server.package} starts as root alone")
    with TemporaryDirectory(prefix="pync-") as directory:
        home = Home(Path(directory), leaf, server.as_root)
        command = server.set_up(program, home)
        with Program(*command, cwd=home.path, start_new_session=True, **home.who) as running:
            try:
                running.expect(server.ready)
                yield listening_port(running)
            finally:
                with suppress(ProcessLookupError):
                    os.killpg(running.pid, server.stop)
                running.finish()  # when the last of its processes has let go of stderr
