"""What pync does, from options to the end.  Errors are raised, for cli to tell.

What only some of the modes need is imported where they begin, for a fast start.
"""

from __future__ import annotations

from pync.environment import Environment
from pync.loop import Loop
from pync.mode import Interrupts
from pync.options import Options


def run(options: Options, environment: Environment, interrupts: Interrupts | None = None) -> None:
    """Do what `options` say.

    interrupts makes the task that minds signals, of which some ask for something else
    than our end, once there is something that a signal should not simply cut off; the
    look-up of a name is nothing of the kind.
    """
    if unwanted := environment.variables.get("PYNC_FORBID"):
        from pync.movers import forbid

        forbid(unwanted)
    with Loop(environment.clock) as loop:
        if options.listen:
            from pync.server import Server

            Server(options, environment, loop, interrupts).listen()
        else:
            from pync.client import Client

            Client(options, environment, loop, interrupts).go()
