"""Many ports, of one host or of many: which of them are open.

`targets` says which, and `doors` gives them one by one, with the host's addresses.  A
`trial` finds out about one; `scan` has many of them going on at a time, in the one
loop, and `report` tells what came out.
"""
