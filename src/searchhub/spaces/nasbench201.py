"""The cell of NAS-Bench-201 (Dong and Yang, ICLR 2020): four nodes, and an operation on each of the six edges."""

from __future__ import annotations

from searchhub.space import Choice, SearchSpace
from searchhub.spaces.mobile import NON_PARAMETER, PARAMETER

__all__ = ["nasbench201_space"]

NUM_NODES = 4

OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
"""In the order of the digits by which compact copies of the table name an architecture."""

WITH_PARAMETERS = ("nor_conv_1x1", "nor_conv_3x3")

EDGES = tuple((source, target) for target in range(1, NUM_NODES) for source in range(target))
"""(source, target) in the order of the official architecture string: by target, then by source."""


def nasbench201_space(*, groups: bool = True) -> SearchSpace:
    """A choice per edge, "node2.from0" for the one from node 0 to node 2; 5^6 = 15,625 architectures.

    >>> nasbench201_space().size
    15625

    Args:
        groups: Whether a search keeps one operation with parameters and one without (DDPNAS Sec. 3.2): convolutions
            against none, skip and pooling. False: a pruned search ends with one operation an edge.
    """
    labels = tuple(PARAMETER if operation in WITH_PARAMETERS else NON_PARAMETER for operation in OPERATIONS)
    return SearchSpace(
        "nasbench201",
        tuple(Choice(f"node{target}.from{source}", OPERATIONS, labels if groups else ()) for source, target in EDGES),
    )
