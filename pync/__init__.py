"""pync: a netcat that ends when it should and loses nothing."""

__version__ = "0.1.0"
