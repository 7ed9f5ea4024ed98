"""How fast pync is, beside other netcats.  It is not part of what is installed."""
