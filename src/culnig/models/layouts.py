"""Where a site is inside a decoder layer: its projection, and its rows where a projection holds several sites."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from culnig.neurons import GATE, KEY, QUERY, UP, VALUE

Rows = Callable[[Any], "tuple[int, int] | Sequence[int]"]
"""The decoder's config -> the site's rows in a projection's output: (start, stop) as a tuple, or a list of indices."""


@dataclass(frozen=True)
class SiteLocation:
    """The place of one site inside a decoder layer.

    Attributes:
        path: the projection module's path, relative to the layer ("mlp.gate_proj").
        rows: for a fused projection, a function of the config that returns the site's rows in the output; None for
            all rows.  The rows are a tuple (start, stop), or a list of indices if they are not contiguous.
        stacked: name of the parameter [experts, rows, inputs] in the module at `path`, if experts are kept as one
            parameter. `rows` are then those of one expert, and the site's neurons are numbered expert * width + row.
        beside: a module that the layer must have for the site to be there (the routed experts of a shared one); None
            asks for nothing.
    """

    path: str
    rows: Rows | None = None
    stacked: str | None = None
    beside: str | None = None


Sites = dict[str, SiteLocation]
"""Canonical module name (`mlp.gate_proj`, ...) -> its place."""

Places = SiteLocation | tuple[SiteLocation, ...]
"""Where a site is: one place in every layer; or several, of which a layer has one or none (first dense layers, say)."""


def gate_up(path: str, width: str = "intermediate_size", stacked: str | None = None) -> Sites:
    """Return the two MLP sites of one projection whose output is [gate | up], each `config.<width>` wide."""

    def rows(half: int) -> Rows:
        return lambda config: (half * getattr(config, width), (half + 1) * getattr(config, width))

    return {GATE: SiteLocation(path, rows(0), stacked), UP: SiteLocation(path, rows(1), stacked)}


def query_key_value(path: str) -> Sites:
    """Return the three attention sites of one projection whose output is [q | k | v]."""

    def rows(which: int) -> Rows:
        def bounds(config: Any) -> tuple[int, int]:
            keys = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
            keys = 1 if getattr(config, "multi_query", False) else keys
            ends = [0]
            for heads in (config.num_attention_heads, keys, keys):
                ends.append(ends[-1] + heads * head_width(config))
            return ends[which], ends[which + 1]

        return bounds

    return {name: SiteLocation(path, rows(which)) for which, name in enumerate((QUERY, KEY, VALUE))}


def head_width(config: Any) -> int:
    """Return the number of coordinates of one attention head."""
    return getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads


def of_heads(path: str, count: Callable[[Any], int], parts: Mapping[str, Callable[[Any], tuple[int, int]]]) -> Sites:
    """Return the sites of a projection whose output is one block of coordinates after the other, of equal make-up.

    Args:
        path: the projection.
        count: config -> the number of blocks (heads, say).
        parts: site -> config -> its (start, stop) in each block.  The block ends where the last part ends; a part "" is of
            no site.
    """

    def rows(name: str) -> Rows:
        def indices(config: Any) -> list[int]:
            size = max(part(config)[1] for part in parts.values())
            start, stop = parts[name](config)
            return [block * size + i for block in range(count(config)) for i in range(start, stop)]

        return indices

    return {name: SiteLocation(path, rows(name)) for name in parts if name}


def heads(config: Any) -> int:
    """Return the number of query heads."""
    return config.num_attention_heads


def interleaved(path: str) -> Sites:
    """Return the three attention sites of one projection whose output is [q of head 0 | k of head 0 | v of head 0 | q of
    head 1 | ...].
    """
    return of_heads(path, heads, {name: _head(i, i + 1) for i, name in enumerate((QUERY, KEY, VALUE))})


def gated_query(path: str) -> Sites:
    """Return the query site of a projection whose output is [q of head 0 | output gate of head 0 | q of head 1 | ...]."""
    return of_heads(path, heads, {QUERY: _head(0, 1), "": _head(1, 2)})


def latent_key_value(path: str) -> Sites:
    """Return the key and value sites of multi-head latent attention: [k of head 0, without positions | v of head 0 | ...].

    The key's part with positions is one for all heads and comes from another projection; it is no neuron.
    """
    return of_heads(
        path,
        heads,
        {
            KEY: lambda config: (0, config.qk_nope_head_dim),
            VALUE: lambda config: (config.qk_nope_head_dim, config.qk_nope_head_dim + config.v_head_dim),
        },
    )


def of_falcon(path: str) -> Sites:
    """Return Falcon's attention sites, in each of its three layouts.

    They are by key-value head [q of its heads | k | v] (40B and later), [q of all heads | k | v] with one key-value head
    (7B), and by head [q | k | v] (RW).
    """

    def rows(name: str, part: int) -> Rows:
        def found(config: Any) -> Sequence[int]:
            blocks, group = config.num_attention_heads, 1
            if config.new_decoder_architecture:
                blocks, group = config.num_kv_heads, config.num_attention_heads // config.num_kv_heads
            elif config.multi_query:
                blocks, group = 1, config.num_attention_heads
            bounds = (0, group, group + 1, group + 2)
            width = head_width(config)
            size, start, stop = (group + 2) * width, bounds[part] * width, bounds[part + 1] * width
            return [block * size + i for block in range(blocks) for i in range(start, stop)]

        return found

    return {name: SiteLocation(path, rows(name, i)) for i, name in enumerate((QUERY, KEY, VALUE))}


def of_codegen(path: str) -> Sites:
    """Return CodeGen's attention sites: four blocks of [q | v | k], each of a quarter of the heads."""
    return of_heads(path, lambda config: 4, {QUERY: _quarter(0), KEY: _quarter(2), VALUE: _quarter(1)})


def of_bigcode(path: str) -> Sites:
    """Return GPT-BigCode's attention sites: [q | k | v] with one key-value head, or by head [q | k | v]."""
    by_head, fused = interleaved(path), query_key_value(path)

    def rows(name: str) -> Rows:
        return lambda config: (fused if config.multi_query else by_head)[name].rows(config)  # type: ignore[misc]

    return {name: SiteLocation(path, rows(name)) for name in by_head}


def alternating(path: str, width: str, stacked: str) -> Sites:
    """Return the two MLP sites of stacked experts whose output is [gate 0 | up 0 | gate 1 | up 1 | ...]."""

    def rows(half: int) -> Rows:
        return lambda config: list(range(half, 2 * getattr(config, width), 2))

    return {GATE: SiteLocation(path, rows(0), stacked), UP: SiteLocation(path, rows(1), stacked)}


def _head(first: int, last: int) -> Callable[[Any], tuple[int, int]]:
    return lambda config: (first * head_width(config), last * head_width(config))


def _quarter(part: int) -> Callable[[Any], tuple[int, int]]:
    def bounds(config: Any) -> tuple[int, int]:
        size = head_width(config) * config.num_attention_heads // 4
        return part * size, (part + 1) * size

    return bounds


def either(*choices: Mapping[str, SiteLocation]) -> dict[str, Places]:
    """Return sites that a layer holds in the first of these places that it has, or does not hold at all."""
    names = dict.fromkeys(name for choice in choices for name in choice)
    return {name: tuple(choice[name] for choice in choices if name in choice) for name in names}
