"""Generates one architecture from an objective and limits: DDPNAS Eq. 10, exactly."""

from searchhub.generation.architecture import Certificate, GeneratedArchitecture
from searchhub.generation.cells import derive
from searchhub.generation.generate import generate, pareto
from searchhub.generation.largest import largest_within
from searchhub.generation.limits import Limit
from searchhub.generation.sampling import sample_within

__all__ = [
    "Certificate",
    "GeneratedArchitecture",
    "Limit",
    "derive",
    "generate",
    "largest_within",
    "pareto",
    "sample_within",
]
