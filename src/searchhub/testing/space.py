"""What every search space must keep to."""

from __future__ import annotations

import json

import numpy as np

from searchhub.space import INACTIVE, Architecture, SearchSpace

SAMPLES = 200


class SpaceContract:
    """Tests of a space; a subclass has the fixture `space`."""

    def test_sampled_architectures_survive_encode_and_decode(self, space: SearchSpace) -> None:
        for row in space.sample(SAMPLES, np.random.default_rng(0)):
            architecture = space.decode(row)
            np.testing.assert_array_equal(space.encode(architecture), row)
            read = Architecture(json.loads(json.dumps(architecture.to_dict())))
            assert read == architecture
            assert hash(read) == hash(architecture)

    def test_samples_hold_a_candidate_exactly_where_a_choice_is_active(self, space: SearchSpace) -> None:
        codes = space.sample(SAMPLES, np.random.default_rng(1))
        assert codes.dtype == np.uint8
        assert codes.shape == (SAMPLES, len(space.choices))
        sizes = np.array([len(choice.candidates) for choice in space.choices])
        active = space.active(codes)
        assert (codes[~active] == INACTIVE).all()
        assert (codes < sizes)[active].all()

    def test_every_candidate_can_be_sampled_alone(self, space: SearchSpace) -> None:
        rng = np.random.default_rng(2)
        for last in (False, True):
            certain = [np.eye(len(choice.candidates))[-1 if last else 0] for choice in space.choices]
            expected = [len(choice.candidates) - 1 if last else 0 for choice in space.choices]
            codes = space.sample(20, rng, certain)
            active = codes != INACTIVE
            assert (codes == expected)[active].all()

    def test_the_same_seed_samples_the_same(self, space: SearchSpace) -> None:
        first, second = (space.sample(50, np.random.default_rng(3)) for _ in range(2))
        np.testing.assert_array_equal(first, second)

    def test_json_gives_the_same_space(self, space: SearchSpace) -> None:
        read = SearchSpace.from_dict(json.loads(json.dumps(space.to_dict(), allow_nan=False)))
        assert read == space
        assert read.fingerprint() == space.fingerprint()
        assert read.size == space.size

    def test_the_fingerprint_changes_with_the_space(self, space: SearchSpace) -> None:
        data = space.to_dict()
        data["choices"][-1]["candidates"] = [*data["choices"][-1]["candidates"], "one more"]
        if "groups" in data["choices"][-1]:
            data["choices"][-1]["groups"] = [*data["choices"][-1]["groups"], "one more"]
        assert SearchSpace.from_dict(data).fingerprint() != space.fingerprint()

    def test_every_architecture_lies_in_exactly_one_branch(self, space: SearchSpace) -> None:
        branches = list(space.branches())
        assert sum(branch.size for branch in branches) == space.size
        for row in space.sample(SAMPLES, np.random.default_rng(4)):
            home = [
                all(
                    int(code) in codes if codes else code == INACTIVE
                    for code, codes in zip(row, branch.codes, strict=True)
                )
                for branch in branches
            ]
            assert sum(home) == 1
