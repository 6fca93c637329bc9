"""A run whose folder is deleted while it works: one clear line, and nothing is made in its place."""

from __future__ import annotations

import shutil

import pytest

from culnig.errors import WriteError
from culnig.run import pipeline
from culnig.run.config import load_config
from tests.helpers.configs import write_config

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("step", ["select", "evaluate"])
def test_a_deleted_folder_is_not_made_again(step, tmp_path, reference_dir, monkeypatch):
    config = load_config(write_config(tmp_path, reference_dir), ["studies=[culture_general]"])
    folder, go_on = tmp_path / "run", getattr(pipeline._Run, step)

    def deleted(self):
        shutil.rmtree(folder)
        go_on(self)

    with monkeypatch.context() as patch:
        patch.setattr(pipeline._Run, step, deleted)
        with pytest.raises(WriteError, match="was deleted while it was in use"):
            pipeline.run(config, folder)
    assert not folder.exists()
    assert pipeline.run(config, folder).results
