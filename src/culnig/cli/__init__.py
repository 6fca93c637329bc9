"""The command line.  One file a verb; verbs import heavy modules when they run, so that `--help` answers at once."""

from culnig.cli._app import main

__all__ = ["main"]
