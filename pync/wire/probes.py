"""What to ask a UDP port so that whoever is there answers.

A datagram that its protocol knows nothing of is dropped without a word by most.  Each
question here only asks, for what anybody may know, and changes nothing.
"""

from __future__ import annotations

import struct

# RFC 1035 section 4.1: a standard query, recursion desired, for the root's name servers.
DNS = struct.pack(">6H", 0x7079, 0x0100, 1, 0, 0, 0) + b"\0" + struct.pack(">2H", 2, 1)

# RFC 5905 section 7.3: version 4, mode 3 (client); all else may be zero.
NTP = b"\x23" + bytes(47)

# RFC 1002 section 4.2.17: a node status request for any name, which is "*" and zeros in
# the first-level encoding of RFC 1001 section 14.1.
NETBIOS = (
    struct.pack(">6H", 0x7079, 0, 1, 0, 0, 0)
    + b"\x20" + b"CK" + 30 * b"A" + b"\0"
    + struct.pack(">2H", 0x21, 1)
)  # fmt: skip

# RFC 5531 section 9: a call of RPC version 2, of the procedure 0 (which does nothing) of
# the port mapper, program 100000, version 2 (RFC 1833), with no credentials.
RPCBIND = struct.pack(">10I", 0x70796E63, 0, 2, 100000, 2, 0, 0, 0, 0, 0)


def ber(tag: int, *parts: bytes) -> bytes:
    """X.690: a value with its tag and its length, which is below 128."""
    body = b"".join(parts)
    return bytes([tag, len(body)]) + body


INTEGER, OCTETS, NULL, OBJECT, SEQUENCE, GET = 0x02, 0x04, 0x05, 0x06, 0x30, 0xA0
ZERO = ber(INTEGER, b"\0")

# RFC 1157 section 4.1.2: version 1, the community public asks for sysDescr.0, 1.3.6.1.2.1.1.1.0.
SNMP = ber(
    SEQUENCE,
    ZERO,
    ber(OCTETS, b"public"),
    ber(
        GET,
        ber(INTEGER, b"\x70\x79"),
        ZERO,
        ZERO,
        ber(SEQUENCE, ber(SEQUENCE, ber(OBJECT, bytes([43, 6, 1, 2, 1, 1, 1, 0])), ber(NULL))),
    ),
)

# RFC 3412 section 6 and RFC 3414 section 4: version 3, of anybody, who may be told the
# engine's name: reportable, the user-based security model, all names empty.
SNMP3 = ber(
    SEQUENCE,
    ber(INTEGER, b"\3"),
    ber(
        SEQUENCE,
        ber(INTEGER, b"\x70\x79"),
        ber(INTEGER, b"\x05\xc0"),  # 1472 bytes at the most
        ber(OCTETS, b"\4"),
        ber(INTEGER, b"\3"),
    ),
    ber(OCTETS, ber(SEQUENCE, ber(OCTETS), ZERO, ZERO, ber(OCTETS), ber(OCTETS), ber(OCTETS))),
    ber(
        SEQUENCE,
        ber(OCTETS),
        ber(OCTETS),
        ber(GET, ber(INTEGER, b"\x70\x79"), ZERO, ZERO, ber(SEQUENCE)),
    ),
)

# UPnP Device Architecture 2.0 section 1.3.2: a search, sent to one device alone.
SSDP = (
    b"M-SEARCH * HTTP/1.1\r\nHOST: 239.255.255.250:1900\r\n"
    b'MAN: "ssdp:discover"\r\nMX: 1\r\nST: ssdp:all\r\n\r\n'
)

# RFC 6763 section 9: which services there are; RFC 6762 section 5.4: answer me alone.
MDNS = (
    struct.pack(">6H", 0, 0, 1, 0, 0, 0)
    + b"\x09_services\x07_dns-sd\x04_udp\x05local\0"
    + struct.pack(">2H", 12, 0x8001)
)

# RFC 8489 section 5: a binding request, without attributes.
STUN = struct.pack(">2HI", 1, 0, 0x2112A442) + b"pync probes."

# RFC 7252 section 4.3: an empty message to be confirmed, which is answered by a reset.
COAP = b"\x40\0\x70\x79"

# RFC 9000 sections 6.1 and 15: a long header with a version that is kept free, and as
# many bytes as an answer needs (14.1); the answer tells the versions that there are.
QUIC = b"\xc0\x1a\x2a\x3a\x4a\x08pync_dst\x08pync_src".ljust(1200, b"\0")

QUESTIONS = {
    53: (DNS,),
    111: (RPCBIND,),
    123: (NTP,),
    137: (NETBIOS,),
    161: (SNMP, SNMP3),
    443: (QUIC,),
    1900: (SSDP,),
    3478: (STUN,),
    5353: (MDNS,),
    5683: (COAP,),
}
NOTHING = (b"",)


def questions(port: int) -> tuple[bytes, ...]:
    """What to send, one after the other; an empty datagram where nothing is known."""
    return QUESTIONS.get(port, NOTHING)
