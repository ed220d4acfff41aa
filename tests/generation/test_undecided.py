from dataclasses import replace

import numpy as np

from searchhub.distribution import ArchitectureDistribution
from searchhub.effects import PredictedQuality
from searchhub.generation.undecided import undecided
from searchhub.result import SearchResult
from searchhub.space import Choice, SearchSpace

SPACE = SearchSpace("six", tuple(Choice(f"c{i}", ("small", "large")) for i in range(6)))


def predicting(noise, gain=1.0):
    """A result whose scores have so much noise."""
    rng = np.random.default_rng(0)
    codes = SPACE.sample(100, rng)
    loss = 4.0 - gain * codes @ (0.5 ** np.arange(6)) + noise * rng.normal(size=100)
    return SearchResult(SPACE, (), prediction=PredictedQuality.of_scores(SPACE, codes, np.exp(-loss)))


def test_scores_that_candidates_explain_tell_them_apart():
    assert undecided(predicting(noise=0.3)) == ""


def test_scores_of_noise_or_without_any_difference_do_not():
    for result in (predicting(noise=1.0, gain=0.0), predicting(noise=0.0, gain=0.0)):
        assert undecided(result).startswith("This search cannot tell candidates apart: they explain less than 10%")


def test_a_flat_theta_does_not():
    flat = ArchitectureDistribution.uniform(SPACE)
    assert "its θ is flat" in undecided(SearchResult(SPACE, (), flat))
    sharp = replace(flat, theta=(np.array([0.6, 0.4]), *flat.theta[1:]))
    assert undecided(SearchResult(SPACE, (), sharp)) == ""
    assert undecided(SearchResult(SPACE, ())) == "", "what was evaluated is generated, and says so"
