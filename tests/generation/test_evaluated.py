from dataclasses import replace

import numpy as np
import pytest

from searchhub.costs.table import CostTable
from searchhub.errors import InfeasibleLimitError, InvalidInputError
from searchhub.generation import Limit, generate, pareto
from searchhub.result import SearchResult
from searchhub.space import Architecture, Choice, SearchSpace
from searchhub.trial import Budget, Trial, TrialResult

SPACE = SearchSpace("s", (Choice("a", (0, 1, 2)), Choice("b", (0, 1, 2))))
MACS = CostTable("macs", SPACE, 0.0, (np.array([1.0, 2.0, 3.0]), np.array([10.0, 20.0, 30.0])))
TRIED = [((0, 1), 0.5), ((2, 2), 0.9), ((1, 1), 0.7), ((0, 2), 0.7), ((1, 1), 0.6), ((2, 1), 0.4)]


def searched(tried):
    history = tuple(
        TrialResult(Trial(i, Architecture({"a": a, "b": b})), score) for i, ((a, b), score) in enumerate(tried)
    )
    return SearchResult(SPACE, history, costs={"macs": MACS})


def test_the_best_evaluated_within_the_limit():
    result = searched(TRIED)
    assert generate(result) == Architecture({"a": 2, "b": 2})
    answer = generate(result, Limit("macs", max=32))
    # 0.7 twice, and (1, 1) also came out as 0.6: the best score of each, then the lower cost.
    assert answer == Architecture({"a": 1, "b": 1})
    certificate = answer.certificate
    assert (certificate.optimal, certificate.method) == (False, "best evaluated")
    assert (certificate.score, certificate.expectation, certificate.costs) == (0.7, None, {"macs": 22.0})
    assert "no θ" in certificate.note
    assert generate(result, Limit("macs", min=30, max=32)) == Architecture({"a": 0, "b": 2})


def test_says_what_does_not_bind_and_what_looks_like_another_unit():
    result = searched(TRIED)
    assert "bind" not in generate(result, Limit("macs", max=32)).certificate.note
    note = generate(result, Limit("macs", max=33)).certificate.note
    assert note.endswith(
        "`macs <= 33` does not bind: nothing in the architectures that were evaluated costs more than 33."
    )
    with pytest.raises(InfeasibleLimitError, match=r"Did you mean 30\?"):
        generate(result, Limit("macs", max=0.03))


def test_the_front_of_the_evaluated():
    front = pareto(searched(TRIED), "macs")
    assert [(p.certificate.costs["macs"], p.certificate.score) for p in front] == [(21, 0.5), (22, 0.7), (33, 0.9)]


def test_only_the_largest_budget_competes():
    early, full = (searched(TRIED).history, searched([((0, 1), 0.3), ((1, 1), 0.2)]).history)
    early = [replace(r, trial=replace(r.trial, budget=Budget(20, data_share=0.1))) for r in early]
    full = [replace(r, trial=replace(r.trial, budget=Budget(3))) for r in full]
    result = SearchResult(SPACE, (*early, *full), costs={"macs": MACS})
    assert generate(result) == Architecture({"a": 0, "b": 1})
    certificate = generate(result).certificate
    assert certificate.score == 0.3
    assert "best of 2 evaluated" in certificate.note
    assert "6 trials with less training are not compared" in certificate.note
    assert [(p.certificate.costs["macs"], p.certificate.score) for p in pareto(result, "macs")] == [(21, 0.3)]
    with pytest.raises(InfeasibleLimitError):
        generate(result, Limit("macs", min=30))


def test_none_within_names_the_smallest_evaluated():
    with pytest.raises(
        InfeasibleLimitError, match=r"`max macs >= 21` must hold for the architectures that were eval"
    ) as e:
        generate(searched(TRIED), Limit("macs", max=15))
    assert e.value.smallest == {"macs": 21.0}
    with pytest.raises(InfeasibleLimitError, match=r"`macs = 30` must hold .* nearest: 23 below and 31 above"):
        generate(searched(TRIED), Limit("macs", equal=30))


def test_refuses():
    with pytest.raises(InvalidInputError, match='`candidates="survivors"` must come with a θ'):
        generate(searched(TRIED), candidates="survivors")
    with pytest.raises(InvalidInputError, match=r"must hold a θ or at least one trial"):
        generate(searched([]))
    with pytest.raises(InvalidInputError, match=r"must hold a θ or at least one trial"):
        pareto(searched([]), "macs")
