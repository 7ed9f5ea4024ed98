"""`python -m pync`."""

from pync.cli import main

raise SystemExit(main())
