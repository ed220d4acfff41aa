from dataclasses import replace

import numpy as np
import pytest

from searchhub import SearchResult
from searchhub.costs.device import cpu_name
from searchhub.costs.latency_table import LatencyReference, LatencyTable
from searchhub.costs.params import params_table
from searchhub.distribution import ArchitectureDistribution
from searchhub.effects import PredictedQuality
from searchhub.errors import InfeasibleLimitError, InvalidInputError
from searchhub.generation import Limit, generate
from searchhub.generation.measured import generate_measured, measure_networks

from ..training.tiny import tiny_supernet

SUPERNET = tiny_supernet()
SPACE = SUPERNET.search_space
PARAMS = params_table(SUPERNET)
REFERENCE = SPACE.decode(SPACE.sample(1, np.random.default_rng(3))[0])
TABLE = LatencyTable(
    "latency_ms",
    SPACE,
    PARAMS.fixed / 1000,
    tuple(entry / 1000 for entry in PARAMS.entries),
    device=cpu_name(),
    threads=1,
    batch_size=2,
    reference=LatencyReference(REFERENCE, PARAMS(REFERENCE) / 1000, 1.0),
)


def larger_is_better():
    """A finished search that takes all that a limit allows."""
    theta = tuple(entry / entry.sum() for entry in PARAMS.entries)
    alive = tuple(np.ones(len(entry), dtype=bool) for entry in theta)
    return SearchResult(SPACE, (), ArchitectureDistribution(SPACE, theta, theta, alive))


RESULT = larger_is_better()
# What a network costs by the table, so that no slack hides that it runs over.
MIDDLE = TABLE(generate(RESULT, Limit(TABLE, max=sum(TABLE.bounds()) / 2)))


class Machine:
    """Networks take a microsecond a weight, and those that are timed `over` times as long as the table says.

    Rounds scatter by ± `scatter`; the machine has become 1.5 to 5 times slower since the table was measured.
    """

    def __init__(self, over=1.0, scatter=0.0):
        self.over, self.scatter, self.rounds, self.batches = over, scatter, 0, set()
        self.rng = np.random.default_rng(0)

    def __call__(self, block, reference):
        self.rounds += 1
        self.batches.add(block[2]["pixel_values"].shape[0])
        own, other = (sum(p.numel() for p in module.parameters()) / 1000 for module, *_ in (block, reference))
        own *= self.over * (1 + self.scatter * (-1) ** self.rounds)
        return self.rng.uniform(1.5, 5, (3, 1)) * [[own, other]]


def test_networks_at_the_speed_of_the_table():
    architectures = [SPACE.decode(row) for row in SPACE.sample(3, np.random.default_rng(1))]
    machine = Machine(over=1.2)
    measured = measure_networks(SUPERNET, architectures, TABLE, rounds=2, time=machine)
    for m, architecture in zip(measured, architectures, strict=True):
        assert m.ms == pytest.approx(1.2 * TABLE(architecture))
        assert m.error_ms == pytest.approx(0.0, abs=1e-9)
        assert m.clock_ms > 1.5 * m.ms
    assert machine.batches == {2}


def test_an_exact_table_needs_one_try():
    answer = generate_measured(SUPERNET, RESULT, TABLE, MIDDLE, rounds=2, time=Machine(over=0.999))
    assert answer.bounds == (MIDDLE,)
    assert answer.architecture == generate(RESULT, Limit(TABLE, max=MIDDLE))


@pytest.mark.parametrize("over", [1.02, 1.3])
def test_slower_than_the_table_says_asks_for_less(over):
    answer = generate_measured(SUPERNET, RESULT, TABLE, MIDDLE, rounds=2, time=Machine(over))
    first = generate(RESULT, Limit(TABLE, max=MIDDLE))
    assert len(answer.bounds) == 2
    assert answer.bounds[1] == pytest.approx(TABLE(first) * MIDDLE / (over * TABLE(first)))
    assert answer.architecture == generate(RESULT, Limit(TABLE, max=answer.bounds[1]))
    assert answer.measured.ms == pytest.approx(over * TABLE(answer.architecture))
    assert answer.measured.ms <= MIDDLE


def test_what_scatters_keeps_its_distance():
    """Two rounds 10 % below and above: 2 standard errors are 2 · √(π/4) · 1.4826 · 10 % = 26 %."""
    answer = generate_measured(SUPERNET, RESULT, TABLE, MIDDLE, rounds=2, time=Machine(scatter=0.1))
    assert answer.measured.error_ms / answer.measured.ms == pytest.approx(0.131, abs=0.002)
    assert answer.measured.ms + 2 * answer.measured.error_ms <= MIDDLE
    assert TABLE(answer.architecture) < 0.85 * MIDDLE


def test_other_limits_hold_too():
    most = PARAMS(generate(RESULT, Limit(TABLE, max=MIDDLE))) - 1
    limit = Limit(PARAMS, max=most)
    answer = generate_measured(SUPERNET, RESULT, TABLE, MIDDLE, limit, rounds=2, time=Machine(over=1.0))
    assert PARAMS(answer.architecture) <= most
    assert answer.architecture == generate(RESULT, Limit(TABLE, max=MIDDLE), limit)


def test_the_objective_is_that_of_generate():
    codes = SPACE.sample(30, np.random.default_rng(0))
    smaller_is_better = PredictedQuality.of_scores(SPACE, codes, np.array([1 / PARAMS.of_row(row) for row in codes]))
    result = replace(RESULT, prediction=smaller_is_better)
    for objective in ("expectation", "predicted", None):
        answer = generate_measured(
            SUPERNET, result, TABLE, MIDDLE, objective=objective, rounds=2, time=Machine(over=0.999)
        )
        assert answer.architecture == generate(result, Limit(TABLE, max=MIDDLE), objective=objective)
        assert (TABLE(answer.architecture) == MIDDLE) == (objective == "expectation")


def test_what_is_never_met_is_an_error():
    smallest, _ = TABLE.bounds()
    with pytest.raises(InvalidInputError, match=r"must be found in 1 tries, but the last took .* Allow more `tries`"):
        generate_measured(SUPERNET, RESULT, TABLE, MIDDLE, tries=1, rounds=2, time=Machine(over=1.1))
    with pytest.raises(InfeasibleLimitError):
        generate_measured(SUPERNET, RESULT, TABLE, 1.05 * smallest, rounds=2, time=Machine(over=1.1))


@pytest.mark.parametrize(
    ("table", "arguments", "message"),
    [
        (replace(TABLE, reference=None), {}, "against the `reference` of a table, but this one has none"),
        (
            replace(TABLE, device="Pixel 1"),
            {},
            "must be of the supernet's space and this device .* on Pixel 1. Pass its `device`",
        ),
        (TABLE, {"device": "meta"}, 'must be measured on "cpu" or "cuda"'),
        (TABLE, {"rounds": 1}, "`rounds >= 2` must hold"),
        (TABLE, {"tries": 0}, "`tries >= 1` must hold"),
    ],
)
def test_refuses(table, arguments, message):
    with pytest.raises(InvalidInputError, match=message):
        generate_measured(SUPERNET, RESULT, table, MIDDLE, time=Machine(), **arguments)
