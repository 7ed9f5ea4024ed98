"""What every test gets: signals as a person's shell has them, and a check that it leaves
no descriptor behind."""

from __future__ import annotations

import gc
import signal
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from harness import descriptors

if TYPE_CHECKING:
    from authority import Authority

# A script's background job starts with these ignored, and so would all that tests start.
for number in (signal.SIGINT, signal.SIGQUIT):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, signal.SIG_DFL)


@pytest.fixture(autouse=True)
def _no_descriptor_left() -> Iterator[None]:
    before = descriptors()
    yield
    gc.collect()
    assert descriptors().items() <= before.items(), "a test left descriptors open"


@pytest.fixture(params=["the movers that the ends allow", "copying alone"])
def _each_mover(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests whose outcome must not depend on how the bytes are moved."""
    if request.param == "copying alone":
        monkeypatch.setenv("PYNC_FORBID", "sendfile splice conduit")


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """The tests' certificates, made when the first test asks for them."""
    from authority import make_authority

    return make_authority(tmp_path_factory.mktemp("authority"))
