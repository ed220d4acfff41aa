import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from searchhub.errors import InvalidInputError
from searchhub.models.bert.reconstruction_bert import (
    ATTENTION,
    FEED_FORWARD,
    BertReconstruction,
    _Moments,
    gather_reconstruction,
)
from searchhub.models.shells import Shells

from ..recipes.harness import finish_scripts, two_processes
from .tiny_bert import text_batch, tiny_bert_supernet

BATCHES = [text_batch(n=9, seed=1), text_batch(n=12, length=12, seed=2)]
ALMOST_NONE = 1e-13
"""A ridge that only keeps the matrices regular."""


def whole(supernet):
    return supernet.subnet(supernet.full_architecture).eval()


def inputs_of(supernet, layer, name, batches=BATCHES):
    """What an output matrix of the whole network receives, without padding, by a hook of its own."""
    received, model = [], whole(supernet)
    linear = model.bert.encoder.layer[layer].get_submodule(name)
    hook = linear.register_forward_pre_hook(lambda _, given: received.append(given[0]))
    with torch.no_grad():
        for batch in batches:
            model(**batch)
    hook.remove()
    return torch.cat([x[b["attention_mask"].bool()] for x, b in zip(received, batches, strict=True)]), linear


@pytest.fixture(scope="module")
def supernet():
    return tiny_bert_supernet().double()


@pytest.fixture(scope="module")
def exact(supernet):
    return gather_reconstruction(supernet, BATCHES, ridge=ALMOST_NONE)


def some_sizes(supernet, seed=0):
    space = supernet.search_space
    return space.decode(space.sample(1, np.random.default_rng(seed))[0])


# -- the solution -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "kept"), [(ATTENTION, 6), (ATTENTION, 18), (FEED_FORWARD, 1), (FEED_FORWARD, 20)])
def test_it_is_the_least_squares_solution(supernet, exact, name, kept):
    for layer in (0, 3):
        x, linear = inputs_of(supernet, layer, name)
        kept_inputs = torch.cat([x[:, :kept], torch.ones(len(x), 1)], dim=1)
        expected, *_ = np.linalg.lstsq(kept_inputs.numpy(), linear(x).detach().numpy(), rcond=None)
        weight, bias = exact.solve(layer, name, kept)
        assert weight.numpy() == pytest.approx(expected[:-1].T, rel=1e-6, abs=1e-6)
        assert bias.numpy() == pytest.approx(expected[-1], rel=1e-6, abs=1e-6)


def test_a_small_example_by_hand():
    """One output y = 2 x₀ + 3 x₁ + 1 where x₁ = x₀ + 4 on all tokens: x₀ alone gives 5 x₀ + 13."""
    supernet = tiny_bert_supernet(num_hidden_layers=1).double()
    tokens = torch.tensor([[0.0, 4.0], [1.0, 5.0], [2.0, 6.0]], dtype=torch.float64)
    linear = supernet.bert.encoder.layer[0].output.dense
    with torch.no_grad():
        linear.weight.zero_()
        linear.weight[0, :2] = torch.tensor([2.0, 3.0])
        linear.bias[0] = 1.0
    padded = torch.nn.functional.pad(tokens, (0, 30))[None]
    linear.register_forward_pre_hook(lambda *_: (padded,))
    batch = {"input_ids": torch.ones(1, 3, dtype=torch.int64)}
    weight, bias = gather_reconstruction(supernet, [batch], ridge=ALMOST_NONE).solve(0, FEED_FORWARD, 1)
    assert (weight[0].item(), bias[0].item()) == (pytest.approx(5), pytest.approx(13))
    # With the ridge the slope is drawn towards the 2 that is there: by 3 · var / (var + ridge · mean variance).
    ridge, var = 0.5, 2 / 3
    weight, bias = gather_reconstruction(supernet, [batch], ridge=ridge).solve(0, FEED_FORWARD, 1)
    more = 3 * var / (var + ridge * 2 * var / 32)
    assert (weight[0].item(), bias[0].item()) == (pytest.approx(2 + more), pytest.approx(1 + 3 * 5 - more * 1))


@pytest.mark.parametrize("name", [ATTENTION, FEED_FORWARD])
def test_nothing_near_it_is_better(supernet, exact, name):
    x, linear = inputs_of(supernet, 1, name)
    target, kept = linear(x).detach(), 12
    generator = torch.Generator().manual_seed(0)

    def error(weight, bias):
        return (x[:, :kept] @ weight.T + bias - target).square().mean()

    weight, bias = exact.solve(1, name, kept)
    least = error(weight, bias)
    assert least < 0.9 * error(linear.weight[:, :kept], linear.bias), "worth solving"
    for size in (1e-3, 1e-1):
        for _ in range(5):
            moved = [size * torch.randn(t.shape, generator=generator, dtype=t.dtype) for t in (weight, bias)]
            assert error(weight + moved[0], bias + moved[1]) > least


def test_what_keeps_everything_is_the_matrix_itself(supernet, exact):
    for layer in range(4):
        for name, size in ((ATTENTION, 24), (FEED_FORWARD, 32)):
            linear = supernet.bert.encoder.layer[layer].get_submodule(name)
            weight, bias = exact.solve(layer, name, size)
            assert torch.equal(weight, linear.weight)
            assert torch.equal(bias, linear.bias)


def test_what_keeps_nothing_has_the_mean_output(supernet, exact):
    x, linear = inputs_of(supernet, 2, ATTENTION)
    weight, bias = exact.solve(2, ATTENTION, 0)
    assert weight.shape == (24, 0)
    torch.testing.assert_close(bias, linear(x).mean(0).detach())


def test_fewer_tokens_than_inputs(supernet):
    few = [{name: tensor[:1] for name, tensor in BATCHES[0].items()}]
    made = gather_reconstruction(supernet, few)
    x, linear = inputs_of(supernet, 0, FEED_FORWARD, few)
    assert made.settings["tokens"] == len(x) < 16
    weight, bias = made.solve(0, FEED_FORWARD, 16)
    error, cut = (
        (x[:, :16] @ w.T + b - linear(x)).square().sum()
        for w, b in ((weight, bias), (linear.weight[:, :16], linear.bias))
    )
    assert error < 0.05 * cut
    assert weight.isfinite().all()


# -- what is gathered -------------------------------------------------------------------------------------------------


def same(one, other, **tolerance):
    assert one.settings == other.settings
    for name, size in ((ATTENTION, 12), (FEED_FORWARD, 9)):
        for a, b in zip(one.solve(1, name, size), other.solve(1, name, size), strict=True):
            torch.testing.assert_close(a, b, **tolerance)


def test_padding_does_not_count(supernet):
    longer = []
    for batch in BATCHES:
        batch = {k: torch.nn.functional.pad(v, (0, 7)) if v.ndim == 2 else v for k, v in batch.items()}
        batch["input_ids"][:, -7:] = 13  # whatever stands there
        longer.append(batch)
    same(gather_reconstruction(supernet, longer), gather_reconstruction(supernet, BATCHES))


def test_how_texts_are_batched_does_not_matter(supernet):
    pieces = [{k: v[part] for k, v in b.items()} for b in BATCHES for part in (slice(0, 1), slice(1, 8), slice(8, 12))]
    same(gather_reconstruction(supernet, pieces), gather_reconstruction(supernet, BATCHES))


def test_float32_is_enough():
    """Sums about the mean: a common part of all activations, much larger than their spread, does no harm."""
    generator = torch.Generator().manual_seed(0)
    rows = 300 + torch.randn(90, 8, generator=generator) @ torch.randn(8, 8, generator=generator)
    found = []
    for dtype in (torch.float32, torch.float64):
        moments = _Moments(torch.empty(1, 8, dtype=dtype))
        for part in rows.to(dtype).split([1, 30, 59]):
            moments.add(part)
        found.append((moments.mean, moments.factor(1e-6)))
    for single, double in zip(*found, strict=True):
        torch.testing.assert_close(single.double(), double, rtol=1e-4, atol=1e-4)
    expected = rows.double().T.cov(correction=0) + 1e-6 * rows.double().var(0, correction=0).mean() * torch.eye(8)
    torch.testing.assert_close(found[1][1] @ found[1][1].T, expected)


def test_gathering_leaves_the_supernet_as_it_was():
    supernet = tiny_bert_supernet(hidden_dropout_prob=0.5).train()
    before, random = {n: t.clone() for n, t in supernet.state_dict().items()}, torch.get_rng_state()
    same(gather_reconstruction(supernet, BATCHES), gather_reconstruction(supernet, BATCHES), rtol=0, atol=0)
    assert supernet.training
    assert torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(t, before[n]) for n, t in supernet.state_dict().items())
    assert not any(module._forward_pre_hooks for module in supernet.modules())


# -- models -----------------------------------------------------------------------------------------------------------


def test_a_model_gets_matrices_of_its_own(supernet, exact):
    before = {n: t.clone() for n, t in supernet.state_dict().items()}
    architecture = some_sizes(supernet)
    for made in (supernet.subnet, supernet.extract):
        model = made(architecture)
        exact.apply(model, architecture)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if ".output.dense." in name:
                    assert parameter.requires_grad
                    parameter.add_(1)
    assert all(torch.equal(t, before[n]) for n, t in supernet.state_dict().items())
    fresh = supernet.extract(architecture)
    exact.apply(fresh, architecture)
    layer, sizes = fresh.bert.encoder.layer[0], fresh.config.per_layer_config[0]
    assert torch.equal(layer.output.dense.weight, exact.solve(0, FEED_FORWARD, sizes.intermediate_size)[0])
    assert torch.equal(layer.attention.output.dense.bias, exact.solve(0, ATTENTION, sizes.num_attention_heads * 6)[1])


def test_the_whole_network_stays_as_it_is(supernet, exact):
    model, plain = whole(supernet), whole(supernet)
    exact.apply(model, supernet.full_architecture)
    assert all(p is q for p, q in zip(model.parameters(), plain.parameters(), strict=True))


def test_a_part_that_is_left_out_stays_out(supernet, exact):
    architecture = type(supernet.full_architecture)(
        {**supernet.full_architecture.to_dict(), "layer1.intermediate_size": 0, "layer2.num_attention_heads": 0}
    )
    model, plain = (supernet.subnet_of_any_size(architecture) for _ in range(2))
    exact.apply(model, architecture)
    assert all(p is q for p, q in zip(model.parameters(), plain.parameters(), strict=True))


def test_a_cut_network_comes_closer_to_the_whole_one(supernet, exact):
    """The widest matrices differ: with one layer cut, its own output is what least squares makes it."""
    full = supernet.full_architecture
    architecture = type(full)({**full.to_dict(), "layer1.intermediate_size": 20})
    cut, solved = (supernet.subnet_of_any_size(architecture).eval() for _ in range(2))
    exact.apply(solved, architecture)
    outputs = []
    with torch.no_grad():
        for model in (whole(supernet), cut, solved):
            found = [
                model.bert(**{k: v for k, v in b.items() if k != "labels"}, output_hidden_states=True) for b in BATCHES
            ]
            masks = [b["attention_mask"].bool() for b in BATCHES]
            outputs.append(torch.cat([f.hidden_states[2][m] for f, m in zip(found, masks, strict=True)]))
    reference, of_cut, of_solved = outputs
    assert (of_solved - reference).square().mean() < 0.7 * (of_cut - reference).square().mean()


def test_shells_give_the_same_models(supernet, exact):
    shells = Shells(supernet, exact)
    batch = {name: tensor for name, tensor in BATCHES[0].items() if name != "labels"}
    for seed in range(6):
        architecture = some_sizes(supernet, seed)
        alone = supernet.extract(architecture).eval()
        exact.apply(alone, architecture)
        with torch.no_grad():
            assert torch.equal(shells.model(architecture).eval()(**batch).logits, alone(**batch).logits)


# -- files ------------------------------------------------------------------------------------------------------------


def test_what_is_saved_comes_back(supernet, exact, tmp_path):
    path = tmp_path / "run" / "it.safetensors"
    made = gather_reconstruction(supernet, BATCHES, data="these texts")
    made.save(path)
    again = BertReconstruction.load(path, copy.deepcopy(supernet), data="these texts")
    same(again, made, rtol=0, atol=0)
    assert (again.parent, again.data) == (made.parent, "these texts")
    assert [p.name for p in path.parent.iterdir()] == [path.name]
    same(BertReconstruction.load(path, supernet), made, rtol=0, atol=0)


def test_of_other_weights_or_texts_it_is_refused(supernet, tmp_path):
    path = tmp_path / "it.safetensors"
    gather_reconstruction(supernet, BATCHES, data="these texts").save(path)
    with pytest.raises(InvalidInputError, match="must be made of these weights"):
        BertReconstruction.load(path, tiny_bert_supernet(seed=1).double())
    with pytest.raises(InvalidInputError, match=r"must be made of these texts \(others\), but is of others \(these"):
        BertReconstruction.load(path, supernet, data="others")
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InvalidInputError, match=r"must hold what `BertReconstruction\.save` wrote"):
        BertReconstruction.load(path, supernet)
    with pytest.raises(InvalidInputError, match="must hold what"):
        BertReconstruction.load(tmp_path / "none", supernet)


TWO_PROCESSES = """
import sys
from pathlib import Path
import torch
from safetensors.torch import save_file
tests, folder = sys.argv[1:]
sys.path.insert(0, tests)
from models.tiny_bert import text_batch, tiny_bert_supernet
from searchhub.models.bert.reconstruction_bert import FEED_FORWARD, gather_reconstruction
torch.set_num_threads(1)
torch.distributed.init_process_group("gloo")
rank = torch.distributed.get_rank()
batches = [text_batch(n=9, seed=1), text_batch(n=12, length=12, seed=2)]
made = gather_reconstruction(tiny_bert_supernet().double(), batches[rank : rank + 1])
weight, bias = made.solve(1, FEED_FORWARD, 9)
save_file({"weight": weight, "bias": bias, "tokens": torch.tensor(made.settings["tokens"])}, Path(folder) / str(rank))
torch.distributed.destroy_process_group()
"""


@pytest.mark.slow
def test_two_processes_gather_together(context, tmp_path, supernet):
    script = tmp_path / "script.py"
    script.write_text(TWO_PROCESSES)
    finish_scripts(context, tmp_path, script, Path(__file__).parents[1], tmp_path, envs=two_processes())
    one, other = (load_file(tmp_path / str(rank)) for rank in range(2))
    alone = gather_reconstruction(supernet, BATCHES)
    assert one["tokens"] == alone.settings["tokens"]
    for name, expected in zip(("weight", "bias"), alone.solve(1, FEED_FORWARD, 9), strict=True):
        assert torch.equal(one[name], other[name])
        torch.testing.assert_close(one[name], expected)


# -- refused ----------------------------------------------------------------------------------------------------------


def test_what_says_nothing_is_refused():
    supernet = tiny_bert_supernet()
    with pytest.raises(InvalidInputError, match="at least one text"):
        gather_reconstruction(supernet, [])
    with pytest.raises(InvalidInputError, match="`ridge > 0` must hold, but got 0"):
        gather_reconstruction(supernet, BATCHES, ridge=0)
    with pytest.raises(InvalidInputError, match="`ridge` must be larger than 1e-30"):
        gather_reconstruction(supernet, [{"input_ids": torch.ones(1, 2, dtype=torch.int64)}], ridge=1e-30)
    supernet.bert.embeddings.word_embeddings.weight.data.fill_(float("inf"))
    with pytest.raises(InvalidInputError, match="Activations must be finite"):
        gather_reconstruction(supernet, BATCHES)
