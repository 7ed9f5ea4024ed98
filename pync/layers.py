"""From options to the protocols between the user's bytes and a peer."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from pync.environment import Environment
from pync.errors import UsageError
from pync.loop import Loop
from pync.opening import Layer, Layers, Maker, stage
from pync.options import Options
from pync.stream import Endpoint

if TYPE_CHECKING:
    from ssl import SSLContext

    from pync.proxies import Hop


def layers(
    options: Options, environment: Environment, loop: Loop, hops: Sequence[Hop] = ()
) -> Layers:
    """The protocols with the proxies on the way and each peer.  What they need is read now.

    Raises UsageError or LocalError.
    """
    makers: list[Maker] = []
    if hops:
        from pync import proxies

        context = proxies.tls_context(map(type, hops), environment)
        makers += proxies.layers(hops, options, context, loop)
    if options.starttls is not None:
        makers.append(plain_opening(options))
    if options.ssl:
        makers.append(tls(options, environment, loop))
    if options.telnet:
        makers.append(telnet(loop))
    return makers


def as_it_is(endpoint: Endpoint) -> Endpoint:
    return endpoint


def telnet(loop: Loop) -> Maker:
    from pync.wire.telnet import Telnet

    return lambda _: stage("telnet", loop, Telnet())


def plain_opening(options: Options) -> Maker:
    from pync.wire.starttls import STARTTLS, starttls

    protocol = options.starttls or ""
    if protocol not in STARTTLS:
        raise UsageError(f"--starttls: {protocol!r} is none of {', '.join(STARTTLS)}")
    name = server_name(options) or "localhost"
    return lambda peer: Layer("STARTTLS", starttls(protocol, peer.target, name), as_it_is)


def tls(options: Options, environment: Environment, loop: Loop) -> Maker:
    from pync.wire.tls.engine import Tls

    if options.relay:
        options = options._replace(ssl_fingerprint=None)  # is the target's
    name = None if options.listen else server_name(options)
    context = (server_context if options.listen else client_context)(options, environment)
    pin = options.ssl_fingerprint
    relays = options.listen and options.proxy_type is not None
    make = partial(Tls, context, name=name, pin=pin, own_input=not relays)
    return lambda peer: stage("TLS handshake", loop, make(peer.target))


def server_name(options: Options) -> str | None:
    """The host that the certificate is to be for; an address's scope is nothing to it."""
    host = options.host and options.host.partition("%")[0]
    name = options.ssl_servername or host
    return name and name.removesuffix(".")


def client_context(options: Options, environment: Environment) -> SSLContext:
    from pync.wire.tls import contexts

    context = contexts.for_client()
    if options.ssl_insecure:
        environment.say("The peer may be anybody: --ssl-insecure checks no certificate")
        contexts.trust_anybody(context)
    elif not options.ssl_fingerprint:
        if not server_name(options):
            raise UsageError("--ssl: a path is no name to check; --ssl-servername gives one")
        contexts.trust_authorities(context, options.ssl_trustfile)
    return furnished(context, options, environment)


def server_context(options: Options, environment: Environment) -> SSLContext:
    from pync.wire.tls import contexts

    context = contexts.for_server(options.ssl_client_ca)
    if not options.ssl_cert:
        environment.say(f"SHA256 fingerprint {contexts.show_ephemeral(context)}")
    return furnished(context, options, environment)


def furnished(context: SSLContext, options: Options, environment: Environment) -> SSLContext:
    """With what either role may have."""
    from pync.wire.tls import contexts

    if options.ssl_fingerprint:
        contexts.pin(context, options.ssl_fingerprint)
    if options.ssl_cert:
        passphrase = partial(environment.secret, "PYNC_SSL_PASSPHRASE", "Passphrase of the key: ")
        contexts.show(context, options.ssl_cert, options.ssl_key, passphrase)
    if keys := environment.variables.get("SSLKEYLOGFILE"):
        contexts.log_keys(context, keys)
    contexts.offer(context, options.ssl_alpn, options.ssl_ciphers)
    return context
