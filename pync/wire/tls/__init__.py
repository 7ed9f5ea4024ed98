"""TLS 1.2 and 1.3 (RFC 5246, 8446): an engine over Python's ssl, and what it trusts and shows."""
