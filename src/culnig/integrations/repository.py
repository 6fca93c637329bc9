"""A neuron set as a small repository: the set, random sets to compare with, what was measured, a card, and checksums.

neurons.json          the set, in the layout of `NeuronSet`
controls/<name>.json  matched random sets
config.yaml           the config of the run that made it, if there was one
culnig.json           format, model, figures, guards, and the SHA-256 of every other file but the card
README.md             the card
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from culnig.errors import DataError, UsageError
from culnig.files import read_json, safe_name, sha256_file, write_json, write_text
from culnig.integrations.card import card
from culnig.models import LanguageModel
from culnig.neurons import NeuronSet, check_belongs
from culnig.versions import versions

FORMAT = 1
"""Format of repositories; a later one may not be readable by this version."""
MANIFEST, SET, CARD, CONFIG = "culnig.json", "neurons.json", "README.md", "config.yaml"
WHAT = "the list of a repository's files (culnig.json)"


@dataclass(frozen=True)
class Repository:
    """A neuron set with what belongs to it.

    Attributes:
        name: title of the card.
        neurons: the set; its provenance names the model's hash.
        controls: name -> matched random set.
        figures: a row for each test set and condition, and for each paired difference; see `integrations.figures`.
        guards: a row for each guard of the suppression.
        config: text of the run's config (YAML), or "".
        record: what the manifest says besides, when it was read from a folder.
    """

    name: str
    neurons: NeuronSet
    controls: Mapping[str, NeuronSet] = field(default_factory=dict)
    figures: Sequence[Mapping[str, Any]] = ()
    guards: Sequence[Mapping[str, Any]] = ()
    config: str = ""
    record: Mapping[str, Any] = field(default_factory=dict)

    @property
    def model(self) -> dict[str, Any]:
        """The model that the set belongs to: name, hashes, revision."""
        made = self.neurons.provenance
        keys = ("model_hash", "legacy_model_hash", "revision")
        return {"name": self.neurons.model_name} | {key: made[key] for key in keys if made.get(key)}

    def check(self, lm: LanguageModel) -> None:
        """Check that the set belongs to a model.

        Raises:
            UsageError: the set was made on another model.
        """
        made_on = self.model["model_hash"]
        if not lm.is_model(made_on):
            raise UsageError(
                f"{self.name} belongs to another model ('{self.model['name']}', hash {made_on}; {lm.name} has"
                f" {lm.fingerprint}); name that model"
            )
        check_belongs(self.neurons, lm.shapes, lm.name)

    def write(self, folder: Path) -> None:
        """Write the files into a folder, which exists.

        Raises:
            UsageError: the set does not name its model, or a control belongs to another.
        """
        if not self.model.get("model_hash"):
            raise UsageError(f"{self.name} does not say by hash which model it belongs to; name the model with --model")
        self.neurons.save(folder / SET)
        for name, control in self.controls.items():
            control.save(folder / "controls" / f"{safe_name(name)}.json")
        if self.config:
            write_text(folder / CONFIG, self.config)
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        manifest = {
            "format": FORMAT,
            "kind": "neuron set",
            "name": self.name,
            "model": self.model,
            "neurons": len(self.neurons),
            "figures": list(self.figures),
            "guards": list(self.guards),
            "files": {path.relative_to(folder).as_posix(): sha256_file(path) for path in files},
            "versions": versions(),
        }
        write_json(folder / MANIFEST, manifest)
        write_text(folder / CARD, card(self.name, self.neurons, self.controls, manifest))

    @classmethod
    def read(cls, folder: Path) -> Repository:
        """Read a repository and check every file against its checksum.

        Raises:
            UsageError: the folder is no repository of a neuron set.
            DataError: a file is missing or changed, or the repository is of a later format.
        """
        if not (folder / MANIFEST).is_file():
            raise UsageError(f"{folder} holds no neuron set: no {MANIFEST} in it; `culnig push` makes such folders")
        manifest = _checked(read_json(folder / MANIFEST, WHAT), folder)
        for name, digest in manifest["files"].items():
            _check_file(folder, name, digest)
        neurons = NeuronSet.load(folder / SET)
        if (
            len(neurons) != manifest["neurons"]
            or neurons.provenance.get("model_hash") != manifest["model"]["model_hash"]
        ):
            raise DataError(
                f"{folder}: {SET} and {MANIFEST} do not agree on the model and the number of neurons; fetch it again"
            )
        controls = {
            Path(name).stem: NeuronSet.load(folder / name) for name in manifest["files"] if name.startswith("controls/")
        }
        config = (folder / CONFIG).read_text(encoding="utf-8") if CONFIG in manifest["files"] else ""
        return cls(
            str(manifest["name"]),
            neurons,
            controls,
            manifest.get("figures", []),
            manifest.get("guards", []),
            config,
            manifest,
        )


def copy_files(folder: Path, names: Iterable[str], target: Path) -> None:
    """Copy a repository's files into another folder, which exists."""
    for name in (*names, MANIFEST, CARD):
        if (folder / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(folder / name, target / name)


def _checked(manifest: Any, folder: Path) -> dict[str, Any]:
    """Return the manifest, if it is one that this version reads."""
    where = folder / MANIFEST
    if not isinstance(manifest, dict) or manifest.get("kind") != "neuron set":
        raise UsageError(f"{where} describes no neuron set; an exported checkpoint is loaded as a model instead")
    if not isinstance(manifest.get("format"), int) or manifest["format"] > FORMAT:
        raise DataError(f"{where}: format {manifest.get('format')!r} is not known to this version of culnig; update it")
    files, model = manifest.get("files"), manifest.get("model")
    if not isinstance(files, dict) or SET not in files or not isinstance(model, dict) or not model.get("model_hash"):
        raise DataError(f"{where}: it lists no {SET} with its checksum, or names no model; fetch it again")
    if any(Path(name).is_absolute() or ".." in Path(name).parts for name in files):
        raise DataError(f"{where}: it lists a file outside of its folder; do not use this repository")
    if not isinstance(manifest.get("neurons"), int):
        raise DataError(f"{where}: it does not say how many neurons there are; fetch it again")
    return manifest


def _check_file(folder: Path, name: str, digest: str) -> None:
    path = folder / name
    if not path.is_file():
        raise DataError(f"{folder}: {name} is missing; fetch the repository again")
    if (found := sha256_file(path)) != digest:
        raise DataError(
            f"{path}: damaged or changed (SHA-256 {found[:12]}.., not {str(digest)[:12]}..); fetch it again"
        )
