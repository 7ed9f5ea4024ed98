"""The protocols whose replies are packets of bytes: LDAP, PostgreSQL, MySQL."""

from __future__ import annotations

from pync.wire.dialogue import Reading, exactly
from pync.wire.starttls.opening import Reply, Step, nonsense, not_offered, said

# --- LDAP: RFC 4511, sections 4.12 and 4.14, in the BER of section 5.1 ---

INTEGER, OCTET_STRING, ENUMERATED, SEQUENCE = 0x02, 0x04, 0x0A, 0x30
EXTENDED_REQUEST, REQUEST_NAME, EXTENDED_RESPONSE = 0x77, 0x80, 0x78
START_TLS = b"1.3.6.1.4.1.1466.20037"
MESSAGE_ID = 1


def element(tag: int, content: bytes) -> bytes:
    """A BER element of less than 128 bytes."""
    return bytes([tag, len(content)]) + content


def extent(data: bytes | bytearray) -> tuple[int, int] | None:
    """Where the content of the first element begins and ends; None: its header is not whole.

    A length may be longer than it need be (Active Directory's are), but not indefinite.
    """
    if len(data) < 2:
        return None
    if data[1] < 0x80:
        return 2, 2 + data[1]
    start = 2 + data[1] - 0x80
    if not 3 <= start <= 6:
        raise nonsense()
    if len(data) < start:
        return None
    return start, start + int.from_bytes(data[2:start], "big")


def ldap_message(received: bytearray) -> int | None:
    if received[0] != SEQUENCE:
        raise nonsense()
    found = extent(received)
    return exactly(found[1])(received) if found else None


def split(data: bytes, tag: int) -> tuple[bytes, bytes]:
    """The content of the first element, which must be of that kind, and what comes after it."""
    found = extent(data)
    if not found or data[0] != tag or found[1] > len(data):
        raise nonsense()
    return data[found[0] : found[1]], data[found[1] :]


def ldap_reply() -> Reply:
    message, _ = split((yield ldap_message), SEQUENCE)
    number, message = split(message, INTEGER)
    response, _controls = split(message, EXTENDED_RESPONSE)
    result, response = split(response, ENUMERATED)
    _matched_name, response = split(response, OCTET_STRING)
    words, _ = split(response, OCTET_STRING)
    if not 1 <= len(result) <= 4:
        raise nonsense()
    if any(result):
        raise said(b"result code %d: %b" % (int.from_bytes(result, "big"), words))
    if int.from_bytes(number, "big") != MESSAGE_ID:
        raise nonsense()


LDAP_REQUEST = element(
    SEQUENCE,
    element(INTEGER, bytes([MESSAGE_ID]))
    + element(EXTENDED_REQUEST, element(REQUEST_NAME, START_TLS)),
)

# --- PostgreSQL: "Message Flow", section "SSL Session Encryption", of its manual ---

SSL_REQUEST = (8).to_bytes(4, "big") + (80877103).to_bytes(4, "big")


def postgres_reply() -> Reply:
    verdict = yield exactly(1)
    if verdict == b"E":
        raise said((yield from postgres_error()))
    if verdict == b"N":
        raise not_offered()
    if verdict != b"S":
        raise nonsense()


def postgres_error() -> Reading[bytes]:
    """The words of an ErrorResponse: a length that counts itself, and fields that end with 0."""
    length = int.from_bytes((yield exactly(4)), "big")
    if length < 4:
        raise nonsense()
    fields = (yield exactly(length - 4)).split(b"\0")
    return next((field[1:] for field in fields if field.startswith(b"M")), b"")


# --- MySQL and MariaDB: "Connection Phase" of their manuals: HandshakeV10, SSLRequest ---

PROTOCOL_VERSION = b"\x0a"
ERROR = b"\xff"
CLIENT_PROTOCOL_41, CLIENT_SSL, CLIENT_SECURE_CONNECTION = 0x200, 0x800, 0x8000
FLAGS_AT = 4 + 8 + 1  # after the server's version come thread, scramble, and a zero
MOST_PACKET = 1 << 24
UTF8 = 33


def mysql_greeting() -> Reply:
    """A packet is its length in three bytes, its number, and then its content."""
    header = yield exactly(4)
    if header[3] != 0:
        raise nonsense()
    packet = yield exactly(int.from_bytes(header[:3], "little"))
    if packet.startswith(ERROR):
        raise said(packet[3:])
    version, _, fields = packet.partition(b"\0")
    flags = fields[FLAGS_AT : FLAGS_AT + 2]
    if not version.startswith(PROTOCOL_VERSION) or len(flags) < 2:
        raise nonsense()
    if not int.from_bytes(flags, "little") & CLIENT_SSL:
        raise not_offered()


def ssl_request() -> bytes:
    flags = CLIENT_PROTOCOL_41 | CLIENT_SSL | CLIENT_SECURE_CONNECTION
    packet = flags.to_bytes(4, "little") + MOST_PACKET.to_bytes(4, "little")
    packet += bytes([UTF8]) + bytes(23)
    return len(packet).to_bytes(3, "little") + bytes([1]) + packet


def no_reply() -> Reply:
    """The handshake itself is the answer."""
    yield from ()


PACKETS = {
    "ldap": [Step(LDAP_REQUEST, ldap_reply)],
    "postgres": [Step(SSL_REQUEST, postgres_reply)],
    "mysql": [Step(b"", mysql_greeting), Step(ssl_request(), no_reply)],
}
