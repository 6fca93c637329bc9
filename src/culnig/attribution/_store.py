"""Scores: per-group sums of every neuron, in memory and on disk."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from culnig.errors import DataError
from culnig.files import atomic_path, require_file


@dataclass
class Scores:
    """Sums over items of the weighted per-item score.

    Attributes:
        sums: (method, module) -> float32 [G, L, N], sum over a group's prompts of P * s.
        count: [G] int64, number of prompts summed in each group.
        groups: names of the groups (countries), sorted, in the tensors' order.
        meta: what was scored and how; JSON values.  `num_items` counts unique item ids.
    """

    sums: dict[tuple[str, str], np.ndarray]
    count: np.ndarray
    groups: list[str]
    meta: dict[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"Scores({self.meta.get('model', '?')}, {len(self.groups)} groups, {int(self.count.sum())} prompts)"

    @property
    def method(self) -> str:
        return next(iter(self.sums))[0]

    @property
    def modules(self) -> list[str]:
        return [module for method, module in self.sums if method == self.method]

    def shapes(self) -> dict[str, tuple[int, int]]:
        """Module -> (L, N)."""
        return {module: self.sums[self.method, module].shape[1:] for module in self.modules}

    def total(self, module: str, method: str | None = None) -> np.ndarray:
        """Sum over all groups, float64 [L, N]."""
        return self.sums[method or self.method, module].sum(axis=0, dtype=np.float64)

    def of_group(self, group: str) -> Callable[[str], np.ndarray]:
        """module -> the sums of one group, [L, N]."""
        index = self.groups.index(group)
        return lambda module: self.sums[self.method, module][index]

    def mean(self, module: str, method: str | None = None) -> np.ndarray:
        """S(D): the sum over all groups divided by the number of prompts, float64 [L, N]."""
        return self.total(module, method) / int(self.count.sum())

    def save(self, path: Path | str) -> None:
        """Write a safetensors file: `sum/<method>/<module>`, `count`, and a JSON header under `culnig`."""
        from safetensors.numpy import save_file

        tensors = {f"sum/{method}/{module}": np.ascontiguousarray(v) for (method, module), v in self.sums.items()}
        tensors["count"] = self.count.astype(np.int64)
        header = {"culnig": json.dumps({"groups": self.groups, **self.meta}, ensure_ascii=False)}
        with atomic_path(path) as temporary:
            save_file(tensors, str(temporary), metadata=header)

    @classmethod
    def load(cls, path: Path | str) -> Scores:
        """Open a score file; its sums are memory-mapped, read-only, and read from disk when they are used.

        Raises:
            UsageError: no such file.
            DataError: not a score file, or a damaged one.
        """
        from safetensors import SafetensorError, safe_open

        path = require_file(path, "a score file (.safetensors)")
        try:
            with safe_open(str(path), framework="numpy") as archive:
                meta = json.loads((archive.metadata() or {}).get("culnig", "null"))
                mapped = _mapped(path)
                tensors = {key: mapped[key] for key in archive.keys()}  # noqa: SIM118
        except (SafetensorError, json.JSONDecodeError) as error:
            raise DataError(f"{path}: not a readable score file ({error})") from error
        if not isinstance(meta, dict) or "count" not in tensors or "groups" not in meta:
            raise DataError(f"{path}: not a score file: no `culnig` header; `culnig score` writes such files")
        sums = {}
        for key, tensor in tensors.items():
            kind, _, rest = key.partition("/")
            if kind == "sum":
                method, _, module = rest.partition("/")
                sums[method, module] = tensor
        groups = meta.pop("groups")
        if len(groups) != len(tensors["count"]) or any(len(groups) != len(s) for s in sums.values()):
            raise DataError(f"{path}: damaged: {len(groups)} groups in the header, other numbers in the tensors")
        order = {module: i for i, module in enumerate(meta.get("modules", []))}
        ordered = dict(sorted(sums.items(), key=lambda kv: (kv[0][0], order.get(kv[0][1], 99))))
        return cls(ordered, np.array(tensors["count"]), list(groups), meta)


def _mapped(path: Path) -> dict[str, np.ndarray]:
    """The tensors of a safetensors file that has been checked: 8 bytes of length, a JSON header, then the data.

    safetensors itself only reads whole tensors, or slices one at a time.
    """
    with path.open("rb") as stream:
        size = int.from_bytes(stream.read(8), "little")
        header = json.loads(stream.read(size))
    kinds = {"F32": np.float32, "F64": np.float64, "I64": np.int64}
    found = {}
    for key, entry in header.items():
        if key == "__metadata__":
            continue
        if entry["dtype"] not in kinds:
            raise DataError(f"{path}: {key} is {entry['dtype']}; a score file holds {', '.join(kinds)}")
        shape, start = tuple(entry["shape"]), 8 + size + entry["data_offsets"][0]
        if 0 in shape:  # nothing to map
            found[key] = np.zeros(shape, kinds[entry["dtype"]])
        else:
            found[key] = np.memmap(path, kinds[entry["dtype"]], "r", start, shape)
    return found
