import numpy as np
import pytest
import torch

from searchhub.errors import InvalidInputError
from searchhub.evaluators.candidate_features import CandidateFeatures
from searchhub.searchers.clustering import cluster_codes
from searchhub.training.accelerator import make_accelerator

from ..models.tiny_fbnet import tiny_fbnet
from ..training.tiny import TinyTask


def recorder(supernet, **options):
    return CandidateFeatures(supernet, TinyTask(), make_accelerator(), **{"num_images": 10, **options})


def probabilities(seed=0):
    return torch.randn(3, 9, generator=torch.Generator().manual_seed(seed)).softmax(-1)


@torch.no_grad()
def disturb(supernet, seed):
    generator = torch.Generator().manual_seed(seed)
    for parameter in supernet.parameters():
        parameter += 0.1 * torch.randn(parameter.shape, generator=generator)


@torch.no_grad()
def test_a_candidates_output_is_on_the_mixtures_input_and_without_its_weight():
    supernet, m, task = tiny_fbnet(), probabilities(), TinyTask()
    features = recorder(supernet, batch_size=4)
    features.record(supernet.mixture(), m)
    supernet.eval()
    x = supernet.stem(task.batch("train", features._indices, device=torch.device("cpu"))["pixel_values"])
    for i, layer in enumerate(supernet.layers):
        outputs = [candidate(x) for candidate in layer.values()]
        for name, output in zip(layer, outputs, strict=True):
            recorded = features.state_dict()[f"layers.{i}.{name}"]
            torch.testing.assert_close(recorded[0].float(), output.mean((0, 2, 3)), rtol=1e-4, atol=1e-6)
        x = sum(weight * output for weight, output in zip(m[i], outputs, strict=True))
    assert len(features._indices.unique()) == 10


def test_the_table_holds_cosines_to_the_first_epoch(tmp_path):
    supernet = tiny_fbnet()
    features = recorder(supernet)
    for epoch in range(3):
        features.record(supernet.mixture(), probabilities())
        disturb(supernet, epoch)
    table = features.table()
    assert table.shape == (3, 9, 3)
    assert (table[..., 0] == 1).all()
    first, _, last = features.state_dict()["layers.1.k5_e6"]
    assert table[1, 6 + 1, 2] == pytest.approx(torch.cosine_similarity(first, last, dim=0).item())
    assert (table[:, :-1, 2] < 1 - 1e-6).all()
    codes = supernet.search_space.sample(200, np.random.default_rng(0))
    assert cluster_codes(table, codes, 3).counts.sum() == 200


def test_it_leaves_the_mixture_as_it_was():
    supernet = tiny_fbnet()
    mixture = supernet.mixture().train()
    before = {name: tensor.clone() for name, tensor in supernet.state_dict().items()}
    recorder(supernet).record(mixture, probabilities())
    assert mixture.training
    assert all(torch.equal(before[name], tensor) for name, tensor in supernet.state_dict().items())


def test_states_go_on_to_the_same_bits():
    supernet = tiny_fbnet()
    whole = recorder(supernet)
    whole.record(supernet.mixture(), probabilities())
    part = recorder(supernet)
    part.load_state_dict(whole.state_dict())
    disturb(supernet, 0)
    for features in (whole, part):
        features.record(supernet.mixture(), probabilities(1))
    assert np.array_equal(whole.table(), part.table())


@pytest.mark.parametrize("options", [{"num_images": 0}, {"num_images": 33}, {"batch_size": 0}])
def test_too_few_pictures_are_refused(options):
    with pytest.raises(InvalidInputError, match="`num_images` must be from 1"):
        recorder(tiny_fbnet(), **options)
