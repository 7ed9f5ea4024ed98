"""pync as a proxy: each client says where it wants to go, and is brought there.

    listener ──▶ Admission ──▶ Visit ──▶ Opening with a Reception    what does it want?
                                   │          └──▶ Way               how it is reached
                                   ├──▶ Session      a tunnel, as any two ends are joined
                                   ├──▶ Passage      an HTTP exchange; then the next Opening
                                   └──▶ Association  a relay of datagrams, until its client leaves

All are tasks of the one loop.  A visit is a script of them, one after the other, and
its failing is its own.
"""
