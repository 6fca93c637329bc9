"""The command line.  One file a verb; heavy imports happen inside the verbs, so that `--help` answers at once."""

from culnig.cli._app import main

__all__ = ["main"]
