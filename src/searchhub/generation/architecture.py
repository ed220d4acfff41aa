"""Defines what generation returns: an architecture with the certificate of how it was found."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, TypeGuard

import numpy as np

from searchhub.costs.table import CostTable
from searchhub.distribution import FloatArray
from searchhub.space import INACTIVE, Architecture, Candidate, Codes, SearchSpace


@dataclass(frozen=True)
class Certificate:
    """How an architecture was found, and what that guarantees.

    Args:
        optimal: Whether the objective of no architecture in reach that meets the limits is larger; where there is an
            `optimum`, larger than that.
        method: What solved it: "argmax", "list-DP", "two-cost list-DP", "list-DP along the chain", "MILP (HiGHS)" or
            "best evaluated"; for cells also "list-DP over nodes" and "derived".
        expectation: E[α] of DDPNAS Eq. 9 over the active choices; for cells, over the edges that are kept. None: there
            is no θ.
        score: The validation score. None: the architecture was not chosen among those that were evaluated.
        costs: Costs that limits or the result name, by name, correctly rounded.
        note: Anything else that a person should know.
        objective: What is the largest: "expectation", "predicted quality" or "score".
        predicted: Predicted quality in normal scores (`searchhub.effects.PredictedQuality`); 0 is the median of what
            was scored. None: another objective.
        loss: The loss, −log(score), to which that amounts. None: another objective, or scores are not in [0, 1].
        deviation: Posterior deviation of `loss`.
        measured: −log(score) of this very architecture on the search's final weights. A maximum of predictions
            flatters itself, and this does not. None: it was not scored again.
        optimum: Predicted quality of the exact optimum, where a network that uses more of the budget took its place
            because the prediction does not tell the two apart. None: this architecture is what the solver found.
    """

    optimal: bool
    method: str
    expectation: float | None
    score: float | None
    costs: dict[str, float]
    note: str = ""
    objective: str = "expectation"
    predicted: float | None = None
    loss: float | None = None
    deviation: float | None = None
    measured: float | None = None
    optimum: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Returns plain JSON, for cards and files; `objective` and what follows only if quality was predicted."""
        data = asdict(self)
        if self.predicted is None:
            data = {name: value for name, value in data.items() if name not in _PREDICTED}
        if self.optimum is None:
            del data["optimum"]
        return data


_PREDICTED = ("objective", "predicted", "loss", "deviation", "measured")


def optimality(certificate: Mapping[str, Any]) -> str:
    """Returns in words what a certificate's `to_dict` says of the optimum."""
    if not certificate.get("optimal"):
        return "not an optimum"
    return "exact optimum" if certificate.get("optimum") is None else "not told apart from the exact optimum"


def objective_facts(certificate: Mapping[str, Any]) -> list[tuple[str, object]]:
    """Returns names and values for people: what a certificate's `to_dict` says of the objective and the prediction.

    The objective of certificates without one is that of a time when E[α] and scores went without saying.
    """
    loss, deviation = certificate.get("loss"), certificate.get("deviation")
    return [
        ("objective", certificate.get("objective") or ("expectation" if certificate.get("score") is None else "score")),
        ("predicted quality", certificate.get("predicted")),
        ("predicted loss", None if loss is None else predicted_loss(loss, deviation)),
        ("loss on the search's weights", certificate.get("measured")),
    ]


def predicted_loss(loss: float, deviation: float | None) -> str:
    """Returns a calibrated loss with its posterior deviation, e.g. "1.2345 ± 0.0123"."""
    return f"{loss:.4f}" if deviation is None else f"{loss:.4f} ± {deviation:.4f}"


class GeneratedArchitecture(Architecture):
    """An architecture that carries its certificate; it equals, and hashes like, the architecture itself."""

    __slots__ = ("certificate",)

    certificate: Certificate

    def __init__(self, chosen: Mapping[str, Candidate], certificate: Certificate) -> None:
        super().__init__(chosen)
        self.certificate = certificate

    def __reduce__(self) -> tuple[Any, ...]:
        return GeneratedArchitecture, (self.to_dict(), self.certificate)

    def __repr__(self) -> str:
        return f"GeneratedArchitecture({self._chosen!r})"

    def with_score(self, score: float) -> GeneratedArchitecture:
        """Returns the same architecture, whose certificate also says what it scored on the search's final weights."""
        measured = -math.log(score) if 0.0 < score <= 1.0 else None
        return GeneratedArchitecture(self._chosen, replace(self.certificate, measured=measured))


def predicts(architecture: Architecture) -> TypeGuard[GeneratedArchitecture]:
    """Whether an architecture was generated by predicted quality."""
    return isinstance(architecture, GeneratedArchitecture) and architecture.certificate.predicted is not None


def decode_all(space: SearchSpace, codes: Codes) -> Iterator[dict[str, Candidate]]:
    """Yields what each row of codes [n, choices] chooses; all rows must have the same active choices."""
    active = [i for i in range(len(space.choices)) if len(codes) and codes[0, i] != INACTIVE]
    names = [space.choices[i].name for i in active]
    columns = [[space.choices[i].candidates[k] for k in codes[:, i].tolist()] for i in active]
    for row in zip(*columns, strict=True):
        yield dict(zip(names, row, strict=True))


def sums(
    entries: Sequence[FloatArray], codes: Codes, fixed: float = 0.0, pairs: Sequence[FloatArray] = ()
) -> list[float]:
    """Returns fixed + Σ entries + Σ pairs per row of codes [n, choices], correctly rounded as by `CostTable.of_row`."""
    terms = np.zeros((len(codes), len(entries) + 1 + len(pairs)))
    terms[:, len(entries)] = fixed
    for i, entry in enumerate(entries):
        padded = np.zeros(INACTIVE + 1)
        padded[: len(entry)] = entry
        terms[:, i] = padded[codes[:, i]]
    for i, pair in enumerate(pairs):
        terms[:, len(entries) + 1 + i] = pair[codes[:, i], codes[:, i + 1]]
    return [math.fsum(row) for row in terms.tolist()]


def costs_of(tables: Mapping[str, CostTable], codes: Codes) -> list[dict[str, float]]:
    """Returns the costs of each row of codes [n, choices], by name."""
    columns = [sums(table.entries, codes, table.fixed, table.pairs) for table in tables.values()]
    return [dict(zip(tables, row, strict=True)) for row in zip(*columns, strict=True)] or [{} for _ in codes]
