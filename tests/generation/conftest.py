"""Small random searches, and their answers by trying everything."""

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest

from searchhub.costs.table import CostTable
from searchhub.distribution import ArchitectureDistribution
from searchhub.generation import Limit
from searchhub.result import SearchResult
from searchhub.space import INACTIVE, Choice, Condition, SearchSpace


class Search:
    """A random small search; `rows` are the codes of everything in reach."""

    def __init__(self, seed, *, theta="random", costs=(), conditional=False, candidates="all", layers=None):
        self.rng = np.random.default_rng(seed)
        self.space = self._space(conditional, layers)
        self.theta = tuple(self._theta(theta, len(choice.candidates)) for choice in self.space.choices)
        alive = tuple(self._alive(len(choice.candidates)) for choice in self.space.choices)
        self.distribution = ArchitectureDistribution(self.space, self.theta, self.theta, alive)
        self.tables = tuple(self._table(f"cost {i}", kind) for i, kind in enumerate(costs))
        self.result = SearchResult(self.space, (), self.distribution, costs={t.name: t for t in self.tables})
        self.candidates = candidates
        self.rows = self._rows(alive if candidates == "survivors" else None)

    def _space(self, conditional, layers):
        layers = layers or int(self.rng.integers(2, 6))
        sizes = self.rng.integers(1, 5, size=layers)
        if not conditional:
            return SearchSpace("plain", tuple(Choice(f"c{i}", tuple(range(n))) for i, n in enumerate(sizes)))
        choices = [Choice("depth", (1, 2, 3))]
        for i, n in enumerate(sizes):
            condition = (None, Condition("depth", (2, 3)), Condition("depth", (3,)))[i % 3]
            choices.append(Choice(f"c{i}", tuple(range(n)), condition=condition))
        return SearchSpace("conditional", tuple(choices))

    def _theta(self, kind, n):
        if kind == "nearly uniform":
            return (1.0 / n) * (1.0 + 1e-9 * self.rng.normal(size=n))
        if kind == "peaked":
            e = np.exp(12.0 * self.rng.normal(size=n))
            return e / e.sum()
        if kind == "ties":
            return self.rng.integers(1, 4, size=n) / 8.0
        return self.rng.dirichlet(np.ones(n))

    def _alive(self, n):
        alive = self.rng.random(n) < 0.7
        alive[self.rng.integers(n)] = True
        return alive

    def _table(self, name, kind):
        draw = {
            "real": lambda n: self.rng.lognormal(0.0, 2.0, size=n),
            "integer": lambda n: self.rng.integers(0, 1000, size=n).astype(float),
            "count": lambda n: self.rng.integers(0, 3, size=n).astype(float),
            "signed": lambda n: self.rng.normal(size=n),
        }[kind]
        fixed = 0.0 if kind == "count" else float(self.rng.normal())
        return CostTable(name, self.space, fixed, tuple(draw(len(c.candidates)) for c in self.space.choices))

    def _rows(self, alive):
        rows = []
        for branch in self.space.branches():
            reach = [tuple(k for k in codes if alive is None or alive[i][k]) for i, codes in enumerate(branch.codes)]
            active = [i for i, codes in enumerate(branch.codes) if codes]
            for combination in itertools.product(*(reach[i] for i in active)):
                row = np.full(len(reach), INACTIVE, dtype=np.uint8)
                row[active] = combination
                rows.append(row)
        return rows

    def limit(self, table):
        """A limit of a random kind, with bounds among or near the costs that there are."""
        costs = [table.of_row(row) for row in self.rows]
        one, other = (float(self.rng.choice(costs)) for _ in range(2))
        if self.rng.random() < 0.3:
            one = float(self.rng.uniform(min(costs), max(costs)))
        low, high = sorted((one, other))
        kinds = ({"max": one}, {"max": one}, {"min": one}, {"equal": one}, {"min": low, "max": high})
        return Limit(table, **kinds[self.rng.integers(len(kinds))])

    def within(self, limits):
        return [row for row in self.rows if all(m.low <= m.cost.of_row(row) <= m.high for m in limits)]

    def exact(self, row):
        """E of a row, as a fraction."""
        on = [Fraction(float(t[k])) for t, k in zip(self.theta, row, strict=True) if k != INACTIVE]
        return sum(on) / len(on)

    def rounded(self, row):
        """E of a row, as a float."""
        on = [float(t[k]) for t, k in zip(self.theta, row, strict=True) if k != INACTIVE]
        return math.fsum(on) / len(on)

    def front(self, table):
        """Costs and expectations of the front, in increasing order."""
        front = []
        for cost, minus in sorted((table.of_row(row), -self.rounded(row)) for row in self.rows):
            if not front or -minus > front[-1][1]:
                front.append((cost, -minus))
        return front


@pytest.fixture
def make_search():
    return Search
