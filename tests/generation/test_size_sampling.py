import numpy as np
import pytest

from searchhub.costs.table import CostTable
from searchhub.distribution import ArchitectureDistribution
from searchhub.errors import InvalidInputError
from searchhub.generation.size_sampling import SMALLEST, SizeSampler
from searchhub.space import INACTIVE, Choice, Condition, SearchSpace

WIDTHS = (1, 2, 4, 8, 16, 32, 64, 128)
SPACE = SearchSpace(
    "depth",
    (
        Choice("depth", (1, 2, 3)),
        Choice("layer1", WIDTHS),
        Choice("layer2", WIDTHS, condition=Condition("depth", (2, 3))),
        Choice("layer3", WIDTHS, condition=Condition("depth", (3,))),
    ),
)
TABLE = CostTable("size", SPACE, 0.0, (np.zeros(3), *(np.array(WIDTHS, dtype=float),) * 3))


def test_logarithms_of_sizes_are_spread_evenly_over_what_is_reached():
    codes = SizeSampler(TABLE).draw_many(800, np.random.default_rng(0))
    assert np.array_equal(codes, SPACE.mask_inactive(np.where(codes == INACTIVE, 0, codes)))
    sizes = TABLE.of_codes(codes)
    low, high = SMALLEST * 384, 384
    counts, _ = np.histogram(np.log(sizes), np.linspace(np.log(low), np.log(high), 5))
    assert counts.min() > 0.1 * len(sizes)  # 1/4 each, less what a drawn mean is missed by
    assert len(np.unique(codes[:, 0])) == 3


def test_pruned_candidates_are_not_drawn_and_likely_ones_are_drawn_more():
    uniform = ArchitectureDistribution.uniform(SPACE)
    alive = [a.copy() for a in uniform.alive]
    alive[0][[0, 2]] = False
    alive[1][::2] = False
    theta = [t.copy() for t in uniform.theta]
    theta[2][3] = 100.0
    rng, sampler = np.random.default_rng(1), SizeSampler(TABLE)
    drawn = np.array(
        [
            sampler.draw(rng, ArchitectureDistribution(SPACE, tuple(theta), uniform.velocity, tuple(alive)))
            for _ in range(300)
        ]
    )
    assert set(drawn[:, 1].tolist()) <= {1, 3, 5, 7}
    assert (drawn[:, 2] == 3).sum() > 0.5 * (drawn[:, 2] != INACTIVE).sum()


def test_pruning_that_leaves_only_large_ones_or_one_depth_is_kept_to():
    uniform = ArchitectureDistribution.uniform(SPACE)
    alive = tuple(np.arange(len(a)) == len(a) - 1 for a in uniform.alive)
    pruned = ArchitectureDistribution(SPACE, uniform.theta, uniform.velocity, alive)
    rng, sampler = np.random.default_rng(2), SizeSampler(TABLE)
    assert {tuple(sampler.draw(rng, pruned)) for _ in range(20)} == {(2, 7, 7, 7)}


def test_the_same_seed_draws_the_same():
    one, other = (SizeSampler(TABLE).draw_many(20, np.random.default_rng(7)) for _ in range(2))
    assert np.array_equal(one, other)


def test_costs_that_cannot_be_spread():
    chain = SearchSpace("chain", (Choice("a", (1, 2)), Choice("b", (1, 2))))
    coupled = CostTable("macs", chain, 0.0, (np.ones(2), np.ones(2)), pairs=(np.ones((2, 2)),))
    with pytest.raises(InvalidInputError, match=r"must add up over choices .* but `macs` is coupled"):
        SizeSampler(coupled)
    with pytest.raises(InvalidInputError, match="`nothing` must be positive somewhere, but is at most 0"):
        SizeSampler(CostTable("nothing", chain, 0.0, (np.zeros(2), np.zeros(2))))
