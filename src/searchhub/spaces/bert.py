"""The compression space of BERT (DDPNAS Sec. 4.4.1): how many layers stay, and how wide each of them is."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Literal, NamedTuple, TypeAlias

from searchhub.errors import InvalidInputError
from searchhub.space import Architecture, Candidate, Choice, Condition, SearchSpace

__all__ = ["bert_space"]

DEPTH = "depth"
"""The choice of how many layers stay."""

Sizes: TypeAlias = Literal["paper", "small"]


class Shares(NamedTuple):
    """Candidates as shares of the checkpoint's sizes, in ascending order."""

    depths: tuple[Fraction, ...]
    intermediate_sizes: tuple[Fraction, ...]
    num_heads: tuple[Fraction, ...]


def _twelfths(*numbers: int) -> tuple[Fraction, ...]:
    return tuple(Fraction(number, 12) for number in numbers)


SHARES: dict[Sizes, Shares] = {
    "paper": Shares(_twelfths(6, 8, 10, 12), _twelfths(2, 3, 4, 12), _twelfths(4, 8, 12)),
    "small": Shares(
        _twelfths(*range(4, 13)),
        tuple(sorted((Fraction(1, 24), Fraction(1, 8), *_twelfths(0, 1, 2, 3, 4, 6, 12)))),
        _twelfths(0, 1, 2, 3, 4, 6, 12),
    ),
}
"""The sizes on offer by default. Of BERT-base's they are the paper's {6, 8, 10, 12}, {512, 768, 1024, 3072}, {4, 8, 12}
in "paper"; "small" is dense where an encoder keeps 5 to 25 % of its parameters."""


def intermediate_choice(layer: int) -> str:
    """Name of the choice of a layer's feed-forward width."""
    return f"layer{layer}.intermediate_size"


def heads_choice(layer: int) -> str:
    """Name of the choice of a layer's number of attention heads."""
    return f"layer{layer}.num_attention_heads"


def kept_layers(depth: int, num_hidden_layers: int) -> tuple[int, ...]:
    """The layers of the checkpoint that a depth keeps: evenly spread, the first and the last among them.

    round(i · (layers - 1) / (depth - 1)), halves to even. 6 of 12 are those that DistilBERT starts from.

    >>> kept_layers(6, 12)
    (0, 2, 4, 7, 9, 11)

    Args:
        depth: 1 (the first layer alone) to `num_hidden_layers`.
        num_hidden_layers: Number of layers of the checkpoint.

    Raises:
        InvalidInputError: There are not as many layers.
    """
    if not 1 <= depth <= num_hidden_layers:
        raise InvalidInputError(f"`depth` must be from 1 to {num_hidden_layers}, all layers, but got {depth}.")
    return tuple(round(Fraction(i * (num_hidden_layers - 1), max(depth - 1, 1))) for i in range(depth))


def bert_space(
    num_hidden_layers: int = 12,
    intermediate_size: int = 3072,
    num_attention_heads: int = 12,
    *,
    depths: Sequence[int] | None = None,
    intermediate_sizes: Sequence[int] | None = None,
    num_heads: Sequence[int] | None = None,
    sizes: Sizes = "paper",
) -> SearchSpace:
    """Depth, and per layer the feed-forward width and the number of heads.

    Layers are numbered as in the checkpoint: "layer4.intermediate_size" is of its fifth layer at every depth that keeps
    it, and does not exist at the others. Heads are whole heads of the checkpoint, of the size that they have there. A
    layer with 0 heads has no attention, one with width 0 no feed-forward part. The defaults are the paper's for
    BERT-base, 12^12 ≈ 8.9e12 architectures with all 12 layers; for other sizes they are in the same proportions.

    >>> [choice.candidates for choice in bert_space(6, 1536, 12).choices[:3]]
    [(3, 4, 5, 6), (256, 384, 512, 1536), (4, 8, 12)]
    >>> [choice.candidates for choice in bert_space(6, 1536, 12, sizes="small").choices[:3]]
    [(2, 3, 4, 5, 6), (0, 64, 128, 192, 256, 384, 512, 768, 1536), (0, 1, 2, 3, 4, 6, 12)]

    Args:
        num_hidden_layers: Number of layers of the checkpoint, at least 1.
        intermediate_size: Feed-forward width of the checkpoint, at least 1.
        num_attention_heads: Number of heads in each layer of the checkpoint, at least 1.
        depths: Numbers of layers on offer, from 1; None: those of `sizes`.
        intermediate_sizes: Widths on offer in every layer, from 0; None: those of `sizes`.
        num_heads: Numbers of heads on offer in every layer, from 0; None: those of `sizes`.
        sizes: What is on offer where no list is given. "paper": 1/2, 2/3, 5/6 and all of the checkpoint's layers; 1/6,
            1/4, 1/3 and all of the width; 1/3, 2/3 and all heads. "small", for networks that keep 5 to 25 % of the
            encoder: every twelfth of the layers from 1/3 up; 0, 1/24, 1/12, 1/8, 1/6, 1/4, 1/3, 1/2 and all of the
            width; 0, 1/12, 1/6, 1/4, 1/3, 1/2 and all heads.

    Raises:
        InvalidInputError: A number on offer is too low, above the checkpoint's, not whole, or there twice; or there are
            no such `sizes`.
    """
    if sizes not in SHARES:
        raise InvalidInputError(f"`sizes` must be one of {list(SHARES)}, but is {sizes!r}.")
    layers, shares = num_hidden_layers, SHARES[sizes]
    depths = _candidates("depths", "layers", depths, shares.depths, layers, least=1)
    widths = _candidates(
        "intermediate_sizes", "width", intermediate_sizes, shares.intermediate_sizes, intermediate_size, least=0
    )
    heads = _candidates("num_heads", "heads", num_heads, shares.num_heads, num_attention_heads, least=0)
    choices = [Choice(DEPTH, depths)]
    for layer in range(layers):
        keeping = tuple(depth for depth in depths if layer in kept_layers(depth, layers))
        if keeping:
            condition = Condition(DEPTH, keeping)
            choices.append(Choice(intermediate_choice(layer), widths, condition=condition))
            choices.append(Choice(heads_choice(layer), heads, condition=condition))
    return SearchSpace("bert", tuple(choices))


def _candidates(
    name: str, noun: str, given: Sequence[int] | None, shares: Sequence[Fraction], largest: int, *, least: int
) -> tuple[int, ...]:
    """What was given, checked; else the shares of the largest, rounded, each once. Only a share of 0 becomes 0."""
    if given is None:
        given = sorted({max(1, round(share * largest)) if share else 0 for share in shares})
    if not given or len(set(given)) != len(given) or not all(type(n) is int and least <= n <= largest for n in given):
        raise InvalidInputError(
            f"`{name}` must be distinct whole numbers from {least} to {largest}, the {noun} of the checkpoint, but got "
            f"{list(given)}."
        )
    return tuple(given)


def full_width(space: SearchSpace) -> list[Architecture]:
    """What needs no search: evenly spread layers as they are, one architecture a depth, the deepest first.

    LayerDrop (Fan et al. 2020) and the start of DistilBERT (Sanh et al. 2019) are of this kind.
    """
    found = []
    for depth in sorted(space.choices[space.index(DEPTH)].candidates, reverse=True):
        chosen: dict[str, Candidate] = {DEPTH: depth}
        for choice in space.choices:
            if choice.condition is not None and depth in choice.condition.candidates:
                chosen[choice.name] = max(choice.candidates)
        found.append(Architecture(chosen))
    return found
