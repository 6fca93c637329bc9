"""Import a package that is no dependency of culnig, or say in one line how to install it."""

from __future__ import annotations

import importlib
from types import ModuleType

from culnig.errors import UsageError


def needed(module: str, extra: str, purpose: str) -> ModuleType:
    """Import an optional package.

    Args:
        module: what to import ("lm_eval").
        extra: the extra of culnig that installs it ("lm-eval").
        purpose: who needs it, as the message begins ("`culnig lm-eval`").

    Raises:
        UsageError: the package is not installed, or it cannot be imported; the message says which.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != module.partition(".")[0]:
            raise UsageError(
                f"{purpose} needs {module}, whose own dependency {error.name} is missing: install it"
            ) from error
        raise UsageError(f"{purpose} needs the package {module}: pip install 'culnig[{extra}]'") from error
    except ImportError as error:
        reason = " ".join(str(error).split())
        raise UsageError(f"{purpose} needs {module}, which does not import here: {reason[:200]}") from error
