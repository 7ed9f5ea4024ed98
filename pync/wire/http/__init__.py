"""HTTP proxies, as their client and as one of them; h11 reads and writes the heads."""
