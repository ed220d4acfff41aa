"""One update on the union of several paths' windows."""

import math

import numpy as np
import pytest
import torch
from accelerate import Accelerator

from searchhub.models.channel_cnn.supernet_channel_cnn import (
    ChannelCnnSupernet,
    ChannelCnnSupernetConfig,
)
from searchhub.space import Architecture
from searchhub.training.loop import train_pass
from searchhub.training.settings import TrainingSettings
from searchhub.training.shared import SharedWeights
from searchhub.training.windows import SharedOptimizerState

from .tiny import tiny_supernet

CPU = torch.device("cpu")


def channels():
    """Windows along two dimensions, which overlap without one holding the other."""
    torch.manual_seed(0)
    config = ChannelCnnSupernetConfig(
        num_labels=4, image_size=8, channels=[16, 16, 16], pool_after=[2], ratios=[0.5, 0.75, 1.0]
    )
    return ChannelCnnSupernet(config)


def batch(n=16, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return {
        "pixel_values": torch.randn(n, 3, 8, 8, generator=generator),
        "labels": torch.randint(0, 4, (n,), generator=generator),
    }


def shared(supernet, **settings):
    settings = TrainingSettings(batch_size=16, weight_decay=0.1, learning_rate=0.01, **settings)
    state = SharedOptimizerState(dict(supernet.named_parameters()))
    return SharedWeights(supernet, settings, Accelerator(cpu=True), state), state, settings


def architectures(supernet, *rows):
    return [supernet.search_space.decode(np.array(row, dtype=np.uint8)) for row in rows]


@pytest.mark.parametrize("make", [tiny_supernet, channels])
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_steps_of_one_path_are_those_of_a_trial(make, optimizer):
    one, other = make(), make()
    path = architectures(one, [1, 2, 0])[0]
    weights, _, settings = shared(one, optimizer=optimizer, max_grad_norm=0.5)
    with weights:
        for step in range(3):
            weights.step([path], [batch(seed=step)], settings.learning_rate_at(step, 3))
    subnet = other.subnet(path)
    parameters = dict(subnet.named_parameters())
    state, accelerator = SharedOptimizerState(dict(other.named_parameters())), Accelerator(cpu=True)
    inner = settings.build_optimizer(parameters.values())
    wrapped, prepared = accelerator.prepare(subnet, inner)
    state.lend(inner, other.windows(subnet, path), parameters)
    batches = [[batch(seed=step)] for step in range(3)]
    train_pass(wrapped, prepared, batches, settings, accelerator, first_step=0, total_steps=3, what="test")
    for (name, a), (_, b) in zip(one.named_parameters(), other.named_parameters(), strict=True):
        assert torch.equal(a, b), name


def gradients(supernet, paths, step):
    """The mean gradient of each element over the paths that hold it, and which elements any holds, by hand."""
    total = {n: torch.zeros_like(p) for n, p in supernet.named_parameters()}
    count = {n: torch.zeros_like(p) for n, p in supernet.named_parameters()}
    for path in paths:
        model = supernet.subnet(path).train()
        model(**batch(seed=step)).loss.backward()
        for name, window in supernet.windows(model, path).items():
            at = window.index or ...
            total[window.source][at] += model.get_parameter(name).grad
            count[window.source][at] += 1
        for parameter in (*model.parameters(), *supernet.parameters()):
            parameter.grad = None
    return {n: (total[n] / count[n].clamp(min=1), count[n] > 0) for n in total}


OVERLAPPING = ([2, 0, 1], [0, 2, 1], [1, 1, 0])
"""Three paths: no window of a layer's weight holds the others, and two end alike."""


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_overlapping_paths_make_one_update_on_their_union(optimizer):
    """Element by element: mean gradients where paths share, Adam's count of each element's own updates."""
    supernet, twin = channels(), channels()
    weights, state, _ = shared(supernet, optimizer=optimizer)
    known = {n: p.detach().double().clone() for n, p in twin.named_parameters()}
    first = {n: torch.zeros_like(p) for n, p in known.items()}
    second = {n: torch.zeros_like(p) for n, p in known.items()}
    updates = {n: torch.zeros_like(p) for n, p in known.items()}
    rounds = [OVERLAPPING[:2], OVERLAPPING, OVERLAPPING]
    with weights:
        for step, rows in enumerate(rounds):
            paths = architectures(supernet, *rows)
            for name, (gradient, held) in gradients(twin, paths, step).items():
                g, w = gradient.double()[held], known[name][held]
                updates[name][held] += 1
                if optimizer == "sgd":
                    first[name][held] = 0.9 * first[name][held] + (g + 0.1 * w)
                    known[name][held] -= 0.01 * first[name][held]
                else:
                    t = updates[name][held]
                    first[name][held] = 0.9 * first[name][held] + 0.1 * g
                    second[name][held] = 0.999 * second[name][held] + 0.001 * g * g
                    m, v = first[name][held] / (1 - 0.9**t), second[name][held] / (1 - 0.999**t)
                    known[name][held] = w * (1 - 0.01 * 0.1) - 0.01 * m / (v.sqrt() + 1e-8)
                twin.get_parameter(name).data.copy_(known[name])
            loss = weights.step(paths, [batch(seed=step)], 0.01)
            assert math.isfinite(loss)
            for name, parameter in supernet.named_parameters():
                torch.testing.assert_close(parameter.detach().double(), known[name], rtol=1e-4, atol=2e-6, msg=name)
    if optimizer == "adamw":
        corner = state._updates["layers.1.convolution.weight"]
        assert corner[1].min() == 0, "the widest corner was in no path"
        assert corner[1].max() == 3


def test_nothing_outside_the_union_moves():
    supernet = channels()
    weights, _, _ = shared(supernet)
    before = {n: p.detach().clone() for n, p in supernet.named_parameters()}
    paths = architectures(supernet, *OVERLAPPING[:2])
    held = {n: h for n, (_, h) in gradients(supernet, paths, 0).items()}
    with weights:
        weights.step(architectures(supernet, [2, 2, 2]), [batch()], 0.0)  # momentum everywhere
        for _ in range(2):
            weights.step(paths, [batch()], 0.01)
    for name, parameter in supernet.named_parameters():
        assert torch.equal(parameter[~held[name]], before[name][~held[name]]), name
    assert any((~h).any() for h in held.values())


def test_a_path_is_not_left_in_the_next_step():
    """No gradient survives a step, on views neither."""
    supernet = channels()
    weights, _, _ = shared(supernet)
    with weights:
        for rows in (OVERLAPPING, OVERLAPPING[:1]):
            paths = architectures(supernet, *rows)
            weights.step(paths, [batch()], 0.01)
            for path in paths:
                assert all(p.grad is None for p in weights.shells.model(path).parameters())


def test_parts_of_a_batch_are_one_batch_where_nothing_depends_on_the_others():
    """Gradient accumulation: two halves of a batch in evaluation-like layers give the step of the whole."""
    supernet = channels()
    for module in supernet.modules():
        assert not isinstance(module, torch.nn.Dropout) or module.p == 0
    weights, _, _ = shared(supernet)
    whole = batch()
    halves = [{k: v[i : i + 8] for k, v in whole.items()} for i in (0, 8)]
    path = architectures(supernet, [2, 2, 2])
    with weights:
        loss = weights.step(path, halves, 0.01)
    twin = channels()
    model = twin.subnet(path[0]).train()
    sum(model(**half).loss / 2 for half in halves).backward()
    sources = {window.source: name for name, window in twin.windows(model, path[0]).items()}
    for name, parameter in supernet.named_parameters():
        before = channels().get_parameter(name)
        gradient = model.get_parameter(sources[name]).grad
        expected = before - 0.01 * (gradient + 0.1 * before)
        torch.testing.assert_close(parameter, expected, rtol=1e-5, atol=1e-7)
    assert loss == pytest.approx(float(sum(model(**half).loss for half in halves) / 2), rel=0.05)


def test_an_architecture_of_another_space_is_refused():
    weights, _, _ = shared(channels())
    with weights, pytest.raises(Exception, match="choice"):
        weights.step([Architecture({"a": 1})], [batch()], 0.01)
