"""Scores: per-group sums of every neuron, in memory and on disk."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from culnig.attribution.batch import Prompts
from culnig.attribution.names import parse_name
from culnig.errors import DataError, UsageError
from culnig.neurons import Shape, widths_of
from culnig.parsing import parse_json
from culnig.sealed import save_tensors, tensor_meta
from culnig.showing import brief, show


def own_neurons(shape: tuple[int, int]) -> np.ndarray:
    """Return which entries of an array [L, N] are neurons, bool [L, N]; all of them, unless layers differ."""
    return np.arange(shape[1]) < np.array(widths_of(shape))[:, None]


@dataclass
class Scores:
    """Sums over items of the weighted per-item score.

    Attributes:
        sums: (method, module) -> float32 [G, L, N], sum over a group's prompts of P * s.
        count: [G] int64, number of prompts summed in each group.
        groups: names of the groups (countries), sorted, in the tensors' order.
        meta: what was scored and how; JSON values.  `num_items` counts unique item ids.
        tokens: [G] int64, positions of those prompts, padding not counted; None in older files.
        blocks: (method, module) -> float32 [K, L, N], the same sums over K random blocks of items, groups pooled; empty
            unless they were asked for.
        block_count: [K] int64, number of prompts in each block.
        group_blocks: (method, module) -> float32 [K, G, L, N], the same sums with groups kept apart, of the modules that
            selection takes neurons of; empty unless they were asked for.
        group_block_count: [K, G] int64, number of prompts of each group in each block.

    A method with a second statistic keeps it under its name and a suffix ("mean_contrast+squares").
    """

    sums: dict[tuple[str, str], np.ndarray]
    count: np.ndarray
    groups: list[str]
    meta: dict[str, Any] = field(default_factory=dict)
    tokens: np.ndarray | None = None
    blocks: dict[tuple[str, str], np.ndarray] = field(default_factory=dict)
    block_count: np.ndarray | None = None
    group_blocks: dict[tuple[str, str], np.ndarray] = field(default_factory=dict)
    group_block_count: np.ndarray | None = None

    def __repr__(self) -> str:
        return f"Scores({self.meta.get('model', '?')}, {len(self.groups)} groups, {int(self.count.sum())} prompts)"

    def _repr_html_(self) -> str:
        return brief("scores", self)

    def show(
        self, *, ctrl: Scores | None = None, share: float = 0.01, method: str | None = None, count: int = 25
    ) -> None:
        """Show in Jupyter where the neurons with the highest scores sit, and list the first; elsewhere, print them.

        Args:
            ctrl: scores of the controls, which are then subtracted as selection does.
            share: share of each module that counts as high.
            method: one of the scores' methods; None is the first.
            count: neurons in the table.

        Raises:
            UsageError: an unknown method, a share out of range, or controls of another model.
        """
        show("scores", self, ctrl=ctrl, share=share, method=method, count=count)

    @property
    def method(self) -> str:
        """The first method's name."""
        return next(iter(self.sums))[0]

    @property
    def methods(self) -> list[str]:
        """All methods' names."""
        return list(dict.fromkeys(method for method, _ in self.sums if "+" not in method))

    def of_method(self, name: str) -> Scores:
        """The scores of one method alone.

        Raises:
            UsageError: they are not in the file.
        """
        wanted = name if name in self.methods else parse_name(name).name
        if wanted not in self.methods:
            raise UsageError(f"no scores of the method '{wanted}'; the file holds: {', '.join(self.methods)}")

        def own(tensors: dict[tuple[str, str], np.ndarray]) -> dict[tuple[str, str], np.ndarray]:
            return {key: tensors[key] for key in tensors if key[0].partition("+")[0] == wanted}

        meta = self.meta | {"method": wanted}
        kept = own(self.blocks), self.block_count, own(self.group_blocks), self.group_block_count
        return Scores(own(self.sums), self.count, self.groups, meta, self.tokens, *kept)

    def of_blocks(self, weights: Sequence[float] | np.ndarray) -> Scores:
        """The scores of a resample of the items, from the per-block sums: one group, "all".

        Selection takes them as it takes any scores.  An item bootstrap draws `weights` from a multinomial of K draws over
        the K blocks; a split half is 0s and 1s, the other half is 1 minus it.

        Args:
            weights: [K], how often each block is taken.

        Raises:
            UsageError: no blocks were kept of these methods, another number of weights, or a resample without prompts.
        """
        if self.block_count is None or not self.blocks:
            raise UsageError(
                f"no per-block sums of {', '.join(self.methods)}: score with --blocks 20"
                " (methods that compare groups, as lape does, have none: blocks pool the groups)"
            )
        w, meta = self._resample(weights, self.block_count)
        sums = {key: np.tensordot(w, blocks, axes=(0, 0))[None] for key, blocks in self.blocks.items()}
        return Scores(sums, np.array([w @ self.block_count]), ["all"], meta)

    def of_group_blocks(self, weights: Sequence[float] | np.ndarray) -> Scores:
        """The scores of a resample of the items with groups kept apart, for culture-specific selection; see `of_blocks`.

        A group whose items are in none of the blocks that are taken has a count of 0.

        Raises:
            UsageError: no sums by block and group were kept, another number of weights, or a resample without prompts.
        """
        if self.group_block_count is None or not self.group_blocks:
            raise UsageError(
                f"no sums by block and group of {', '.join(self.methods)}: score with --blocks 20 --block-groups"
            )
        w, meta = self._resample(weights, self.group_block_count.sum(axis=1))
        sums = {key: _weighted_sum(w, blocks) for key, blocks in self.group_blocks.items()}
        return Scores(sums, w @ self.group_block_count, self.groups, meta)

    def _resample(self, weights: Sequence[float] | np.ndarray, count: np.ndarray) -> tuple[np.ndarray, dict[str, Any]]:
        """The weights as float64 [K], checked, and what a resample's scores say of themselves."""
        w = np.asarray(weights, dtype=np.float64)
        if w.shape != count.shape:
            raise UsageError(f"{w.size} weights for {len(count)} blocks")
        if w @ count <= 0:
            raise UsageError("the blocks that are taken hold no prompts")
        items = float(w @ np.asarray(self.meta["block_items"], dtype=np.float64))
        return w, self.meta | {"num_items": items}

    @property
    def clamped(self) -> list[str]:
        """The methods of which controls were clamped at 0 from below; in files that do not say so, all that had controls."""
        if "clamped" in self.meta:
            return [name for name in self.methods if name in self.meta["clamped"]]
        return [name for name in self.methods if hasattr(parse_name(name), "clamps")]

    @property
    def modules(self) -> list[str]:
        return [module for method, module in self.sums if method == self.method]

    def shapes(self) -> dict[str, tuple[int, int]]:
        """Module -> (L, N); a `Shape` where layers have different numbers of neurons, or some have none."""
        widths = self.meta.get("layer_widths", {})
        return {
            module: Shape(widths[module]) if module in widths else self.sums[self.method, module].shape[1:]
            for module in self.modules
        }

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
        """Write a safetensors file: `sum/<method>/<module>`, `count`, and a JSON header under `culnig`.

        Where they are there, `tokens`, `block/...`, `block_count`, `group_block/...` and `group_block_count` are written too.
        """
        kinds = {"sum": self.sums, "block": self.blocks, "group_block": self.group_blocks}
        tensors = {
            f"{kind}/{method}/{module}": np.ascontiguousarray(v)
            for kind, family in kinds.items()
            for (method, module), v in family.items()
        }
        tensors["count"] = self.count.astype(np.int64)
        optional = {name: getattr(self, name) for name in COUNTS}
        tensors |= {key: value.astype(np.int64) for key, value in optional.items() if value is not None}
        save_tensors(path, tensors, {"groups": self.groups, **self.meta})

    @classmethod
    def load(cls, path: Path | str) -> Scores:
        """Open a score file; its sums are memory-mapped, read-only, and read from disk when they are used.

        Raises:
            UsageError: no such file.
            DataError: not a score file, or a damaged one.
        """
        path = Path(path)
        meta = tensor_meta(path, "a score file")
        tensors = _mapped(path)
        if meta is None or "count" not in tensors or not isinstance(meta.get("groups"), list):
            raise DataError(f"{path}: not a score file: no `culnig` header; `culnig score` writes such files")
        kinds: dict[str, dict[tuple[str, str], np.ndarray]] = {"sum": {}, "block": {}, "group_block": {}}
        for key, tensor in tensors.items():
            kind, _, rest = key.partition("/")
            if kind in kinds:
                method, _, module = rest.partition("/")
                kinds[kind][method, module] = tensor
        sums = kinds["sum"]
        groups = meta.pop("groups")
        if len(groups) != len(tensors["count"]) or any(len(groups) != len(s) for s in sums.values()):
            raise DataError(f"{path}: damaged: {len(groups)} groups in the header, other numbers in the tensors")
        order = {name: i for i, name in enumerate([*str(meta.get("method", "")).split(","), *meta.get("modules", [])])}

        def place(key: tuple[str, str]) -> tuple[int, str, int]:
            return order.get(key[0].partition("+")[0], 99), key[0], order.get(key[1], 99)

        sums, blocks, group_blocks = ({key: kind[key] for key in sorted(kind, key=place)} for kind in kinds.values())
        optional = {name: tensors.get(name) for name in COUNTS}
        count = np.array(tensors["count"])
        return cls(sums, count, list(groups), meta, blocks=blocks, group_blocks=group_blocks, **optional)


def _weighted_sum(weights: np.ndarray, blocks: np.ndarray) -> np.ndarray:
    """Sum over the first axis in float64, a block at a time: all of them together may not fit."""
    total = np.zeros(blocks.shape[1:])
    for weight, block in zip(weights, blocks, strict=True):
        if weight:
            total += np.multiply(block, weight, dtype=np.float64)
    return total


COUNTS = ("tokens", "block_count", "group_block_count")
"""Counts that a file need not have."""


def _mapped(path: Path) -> dict[str, np.ndarray]:
    """The tensors of a safetensors file that has been checked: 8 bytes of length, a JSON header, then the data.

    safetensors itself only reads whole tensors, or slices one at a time.
    """
    with path.open("rb") as stream:
        size = int.from_bytes(stream.read(8), "little")
        header = parse_json(stream.read(size))
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


SAME = (
    *("model_hash", "dtype", "data_hash", "method", "modules", "formulation", "prompts"),
    *("padded_zeros", "num_prompts", "blocks", "block_groups"),
)


def merge_scores(shards: Sequence[Scores]) -> Scores:
    """The scores of a whole job from its shards 1/n ... n/n, in any order.

    Raises:
        UsageError: not a shard, shards of different jobs, one that is missing, or one that is there twice.
    """
    if not shards:
        raise UsageError("no shards to merge")
    numbers = []
    for scores in shards:
        if not scores.meta.get("shard"):
            raise UsageError("one of the files is not a shard: it was made without --shard and is whole already")
        numbers.append(tuple(scores.meta["shard"]))
    for scores, (i, n) in zip(shards[1:], numbers[1:], strict=True):
        for key in SAME:
            if scores.meta.get(key) != shards[0].meta.get(key):
                raise UsageError(f"shard {i}/{n} belongs to another job: its {key.replace('_', ' ')} differs")
        if scores.clamped != shards[0].clamped:
            raise UsageError(
                f"shard {i}/{n} is of another version: controls are clamped by {', '.join(scores.clamped) or 'no method'}, in"
                f" the first by {', '.join(shards[0].clamped) or 'none'}; score the older shards again"
            )
    of = {n for _, n in numbers}
    if len(of) > 1:
        raise UsageError(f"the shards are of different divisions: {', '.join(f'{i}/{n}' for i, n in numbers)}")
    (n,) = of
    if missing := sorted(set(range(1, n + 1)) - {i for i, _ in numbers}):
        raise UsageError(f"shards are missing: {', '.join(f'{i}/{n}' for i in missing)}")
    if len(numbers) > n:
        raise UsageError(f"a shard is there twice: {', '.join(f'{i}/{n}' for i, _ in sorted(numbers))}")
    ordered = [scores for _, scores in sorted(zip(numbers, shards, strict=True), key=lambda pair: pair[0])]
    tensors = {name: _added([getattr(s, name) for s in ordered]) for name in ("sums", "blocks", "group_blocks")}
    counts: dict[str, Any] = {name: _counts([getattr(s, name) for s in ordered]) for name in COUNTS}
    count = np.sum([s.count for s in ordered], axis=0)
    meta = ordered[0].meta | {"shard": None, "merged": n}
    return Scores(
        tensors["sums"],
        count,
        ordered[0].groups,
        meta,
        blocks=tensors["blocks"],
        group_blocks=tensors["group_blocks"],
        **counts,
    )


def _added(parts: list[dict[tuple[str, str], np.ndarray]]) -> dict[tuple[str, str], np.ndarray]:
    """Tensors added up in float64, kept in float32."""
    return {
        key: np.stack([part[key] for part in parts]).sum(axis=0, dtype=np.float64).astype(np.float32)
        for key in parts[0]
    }


def _counts(parts: list[np.ndarray | None]) -> np.ndarray | None:
    present = [part for part in parts if part is not None]
    return np.sum(present, axis=0) if len(present) == len(parts) else None


def block_numbers(prompts: Prompts, blocks: int) -> np.ndarray:
    """The block of each prompt, int64 [P].

    It depends on the question alone (the item's id without the number of its option draw): all draws and wordings of a
    question are in one block, and a question and its control are in the same block of their files.

    Raises:
        UsageError: fewer than two blocks.
    """
    if blocks < 2:
        raise UsageError(f"{blocks} blocks: give 2 at least (20 is a good number), or leave them out")
    return (prompts.columns.questions % np.uint64(blocks)).astype(np.int64)


def items_a_block(prompts: Prompts, block_of: np.ndarray, blocks: int) -> list[int]:
    """Number of distinct items in each block."""
    _, last = np.unique(prompts.columns.items[::-1], return_index=True)
    return np.bincount(block_of[::-1][last], minlength=blocks).tolist()
