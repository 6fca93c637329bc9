"""The config of a run: bases, and what is refused."""

from __future__ import annotations

import pytest

from culnig.errors import UsageError
from culnig.run.config import load_config


def test_a_test_set_twice_is_refused(tmp_path):
    with pytest.raises(UsageError, match="listed twice"):
        load_config("quickstart", ["test.1.items=everyday:test"])


def test_a_base_is_laid_under():
    config = load_config("studies")
    assert config.test == load_config("quickstart").test and "dose" in config.studies
