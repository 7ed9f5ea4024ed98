"""A module of pync imports only from the layers below its own, and what is dangerous or
belongs to one place stays in that place."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "pync"

# From the bottom up.  Those of one layer do not import each other.
LAYERS = [
    "errors address transports.descriptors",
    """access port_file scan scan.targets status values environment stream
       wire wire.crlf wire.dialogue wire.label wire.probes wire.proxy_protocol wire.safe_text
       wire.telnet
       wire.http wire.http.auth wire.http.targets
       wire.tls wire.tls.certificates wire.tls.ephemeral""",
    """options proxy_variables doorkeeper interrupts loop bypass stage taps
       transports transports.memory transports.sockets
       wire.chat wire.http.connect wire.http.heads wire.http.side wire.socks wire.starttls.opening
       wire.tls.contexts wire.tls.reasons""",
    """combinations movers
       transports.datagrams transports.handed transports.kept transports.settings
       transports.stdio transports.stdio_threads
       wire.http.exchange wire.socks4 wire.socks5 wire.starttls.lines wire.starttls.packets
       wire.starttls.xmpp wire.tls.engine""",
    """arguments flow transports.inet transports.datagram_listeners transports.program_ends
       wire.http.proxy wire.starttls""",
    """endings program_variables scan.trial staged
       transports.ourselves transports.process transports.resolver transports.tcp
       transports.udp transports.unix""",
    "gateway gateway.parcels relayed rereading scan.doors scan.report session transports.knocker",
    """admission connecting gateway.datagram_relay dial opening reaching redial
       scan.again""",
    "circle job proxies tunnel gateway.reaching gateway.passage scan.scan waiting",
    "hub jobs layers sharing gateway.reception scan.run",
    "broker policies relay gateway.routes gateway.visit",
    "chat gateway.server",
    "mode",
    "client server",
    "program",
    "cli",
    "__main__",
]
LAYER = {module: number for number, line in enumerate(LAYERS) for module in line.split()}

# What only these modules may import.
ONLY_IN = {
    "docopt": {"cli"},
    "gc": {"__main__"},
    "h11": {module for module in LAYER if module.startswith("wire.http.")},
    "selectors": {"loop"},
    "select": {"environment", "transports.descriptors", "transports.stdio"},
    "signal": {"interrupts", "transports.process"},
    "socket": {module for module in LAYER if module.startswith("transports.")},
    "ssl": {module for module in LAYER if module.startswith("wire.tls.")},
    "subprocess": set(),
    "sys": {"cli"},
    "xml.parsers": {"wire.starttls.xmpp"},
}


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


# Without pync/__init__.py, which is "" and has no imports to speak of.
TREES = {
    name: ast.parse(path.read_text(), str(path))
    for path in sorted(PACKAGE.rglob("*.py"))
    if (name := module_name(path))
}


def imported(tree: ast.AST) -> Iterator[str]:
    """The modules that are imported, with all their packages' names before them."""
    for node in running(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.module, "imports are absolute"
            for alias in node.names:
                submodule = f"{node.module}.{alias.name}".removeprefix("pync.")
                yield f"pync.{submodule}" if submodule in TREES else node.module


def running(tree: ast.AST) -> Iterator[ast.AST]:
    """Everything below `tree` but what only a type checker sees."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        yield node
        yield from running(node)


def siblings(tree: ast.AST) -> set[str]:
    """The imported modules of pync itself; pync's version is nobody's sibling."""
    names = {name for name in imported(tree) if name.startswith("pync.")}
    return {name.removeprefix("pync.") for name in names}


def test_the_table_has_every_module() -> None:
    assert LAYER.keys() == TREES.keys()


@pytest.mark.parametrize("module", TREES)
def test_a_module_imports_from_lower_layers_only(module: str) -> None:
    assert {name for name in siblings(TREES[module]) if LAYER[name] >= LAYER[module]} == set()


@pytest.mark.parametrize("name", ONLY_IN)
def test_a_module_is_imported_where_it_belongs(name: str) -> None:
    users = {module for module, tree in TREES.items() if name in imported(tree)}
    assert users <= ONLY_IN[name]


def test_unknown_exceptions_end_in_one_place() -> None:
    """Elsewhere they may only be passed on, once something was closed."""
    assert [module for module, tree in TREES.items() for _ in swallowed(tree)] == ["cli"]


def swallowed(tree: ast.AST) -> Iterator[ast.ExceptHandler]:
    """The handlers that stop any exception."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ExceptHandler):
            passed_on = isinstance(node.body[-1], ast.Raise)
            if not passed_on and catches_everything(node.type):
                yield node


def catches_everything(caught: ast.expr | None) -> bool:
    if caught is None:
        return True
    names = {node.id for node in ast.walk(caught) if isinstance(node, ast.Name)}
    return not names.isdisjoint({"Exception", "BaseException"})
