"""Protocols without their network: bytes in, bytes out, nothing else."""
