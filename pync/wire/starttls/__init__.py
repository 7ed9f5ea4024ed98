"""The plain openings that lead to TLS on the same connection: the client's side."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from pync.wire.starttls.lines import LINES
from pync.wire.starttls.opening import Opening, Step
from pync.wire.starttls.packets import PACKETS

Steps = Callable[[str], Iterable[Step]]  # with the server of that name


def regardless(steps: list[Step]) -> Steps:
    """The same steps with every server."""
    return lambda _name: steps


def xmpp(name: str) -> Iterable[Step]:
    from pync.wire.starttls.xmpp import xmpp as steps  # XML is for it alone

    return steps(name)


STARTTLS: Mapping[str, Steps] = {
    **{protocol: regardless(steps) for protocol, steps in (LINES | PACKETS).items()},
    "xmpp": xmpp,
}


def starttls(protocol: str, peer: str, name: str) -> Opening:
    """The dialogue (see stage.Dialogue) after which TLS may begin.

    protocol: one of STARTTLS.
    peer: the peer as messages name it.
    name: the server's name as it was asked for, which XMPP tells the server.
    """
    return Opening(f"STARTTLS ({protocol}) with {peer} failed", STARTTLS[protocol](name))
