"""What every test gets: signals as a person's shell has them, and a check that it leaves
no descriptor behind."""

from __future__ import annotations

import gc
import resource
import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from harness import descriptors

if TYPE_CHECKING:
    from authority import Authority
    from programs import Room

# A script's background job starts with these ignored, and so would all that tests start.
for number in (signal.SIGINT, signal.SIGQUIT):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, signal.SIG_DFL)


@pytest.fixture(autouse=True)
def _no_descriptor_left() -> Iterator[None]:
    before = descriptors()
    yield
    if not descriptors().items() <= before.items():
        gc.collect()  # which takes long, and is seldom what closes one
    assert descriptors().items() <= before.items(), "a test left descriptors open"


CROWD = 2500  # descriptors


@pytest.fixture
def _descriptors_for_a_crowd() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < CROWD:
        pytest.skip(f"only {hard} descriptors are allowed here")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, CROWD), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


# How the bytes are moved, and what is forbidden then.
MOVERS = {"the movers that the ends allow": "", "copying alone": "sendfile splice conduit"}


@pytest.fixture(params=MOVERS)
def _each_mover(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests whose outcome must not depend on how the bytes are moved."""
    monkeypatch.setenv("PYNC_FORBID", MOVERS[request.param])


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """The ways of _each_way: a test may name versions of TLS, or say why it has none."""
    if "_each_way" in metafunc.fixturenames:
        versions = metafunc.definition.get_closest_marker("tls")
        plain_alone = metafunc.definition.get_closest_marker("plain_alone")
        tls = () if plain_alone else versions.args if versions else ("TLSv1.3",)
        metafunc.parametrize("_each_way", (*MOVERS, *tls), indirect=True)


@pytest.fixture
def _each_way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests with a peer that is joined(), and an outcome that depends on nothing between."""
    if request.param in MOVERS:
        monkeypatch.setenv("PYNC_FORBID", MOVERS[request.param])
    else:
        from tls_socket import over_tls

        way = over_tls(request.getfixturevalue("authority"), request.param)
        monkeypatch.setattr("plain_peer.way", way)


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """The tests' certificates, made when the first test asks for them."""
    from authority import make_authority

    return make_authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def served(tmp_path: Path, authority: Authority) -> Room:
    """What lets pync serve over a transport, and what lets a client in: see rooms."""
    from rooms import room

    return partial(room, tmp_path=tmp_path, authority=authority, hello=b"")
