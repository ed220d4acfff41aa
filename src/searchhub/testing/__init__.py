"""Contracts that a space, a searcher or a supernet of your own can be held to, from pytest or by hand.

Subclass a contract in a test module, give it the fixture that it names, and pytest runs its tests:

    class TestMySpace(SpaceContract):
        @pytest.fixture
        def space(self):
            return my_space()
"""

from searchhub.testing.evaluator import ChainEvaluator
from searchhub.testing.searcher import SearcherContract
from searchhub.testing.space import SpaceContract

__all__ = ["ChainEvaluator", "SearcherContract", "SpaceContract"]
