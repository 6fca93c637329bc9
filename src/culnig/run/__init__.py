"""A run: its config, its folder, the pipeline, the tuning step and the plan.

`culnig.run(config)` runs the whole pipeline.  It has the name of this package, so the package itself can be called.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any


class _CallablePackage(ModuleType):
    """This package, which runs the pipeline when it is called."""

    def __call__(self, *args: Any, **options: Any) -> Any:
        """Call `culnig.run.pipeline.run`; arguments and errors are its own."""
        from culnig.run.pipeline import run

        return run(*args, **options)


sys.modules[__name__].__class__ = _CallablePackage
