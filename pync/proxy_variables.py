"""The variables of the environment that name a proxy, as curl reads them for https.

Nothing here is looked at unless --proxy env asks for it.
"""

from __future__ import annotations

from ipaddress import ip_address, ip_network

from pync.environment import Environment
from pync.errors import UsageError
from pync.values import Proxy, read_proxy

FROM_ENVIRONMENT = Proxy(None, "env", None)  # what --proxy env is read as
VARIABLES = ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY")  # the first that is set
EXCEPTIONS = ("no_proxy", "NO_PROXY")


def proxy_of_environment(host: str, environment: Environment) -> tuple[Proxy, ...]:
    """The proxy for `host`, or none for one of the exceptions.

    Raises UsageError, also where no variable is set.
    """
    name = first_set(VARIABLES, environment)
    if not name:
        raise UsageError(f"--proxy env: none of {', '.join(VARIABLES)} is set")
    exceptions = environment.variables.get(first_set(EXCEPTIONS, environment), "")
    if is_excepted(host, exceptions):
        return ()
    try:
        return (read_proxy(environment.variables[name]),)
    except ValueError as error:
        raise UsageError(f"--proxy env: the value of {name} is {error}") from None


def first_set(names: tuple[str, ...], environment: Environment) -> str:
    return next((name for name in names if environment.variables.get(name)), "")


def is_excepted(host: str, exceptions: str) -> bool:
    """Whether `host` is one of the names, domains, addresses or networks in the list."""
    entries = exceptions.replace(",", " ").lower().split()
    return "*" in entries or any(matches(host.lower().rstrip("."), entry) for entry in entries)


def matches(host: str, entry: str) -> bool:
    try:
        address = ip_address(host)
    except ValueError:
        domain = entry.strip(".")
        return host == domain or host.endswith(f".{domain}")
    try:
        return address in ip_network(entry.strip("[]"), strict=False)
    except ValueError:
        return False
