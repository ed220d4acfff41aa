"""Optimizer state on slices, as a compressed layer has them; whole tensors are in the supernet contract."""

import pytest
import torch
from torch import nn

from searchhub.errors import InvalidInputError
from searchhub.models.supernet import Window
from searchhub.training.settings import TrainingSettings
from searchhub.training.windows import SharedOptimizerState, check_optimizer

ROWS = Window("weight", (slice(0, 3), slice(None)))
COLUMNS = Window("weight", (slice(None), slice(0, 2)))
CORNER = Window("weight", (slice(0, 3), slice(0, 2)))
WHOLE = Window("weight")


def weight():
    return nn.Parameter(torch.randn(6, 5, generator=torch.Generator().manual_seed(0)))


def train(source, state, window, settings, steps=3, gradient=None):
    view = nn.Parameter(source.data[window.index]) if window.index else source
    optimizer = settings.build_optimizer([view])
    state.lend(optimizer, {"w": window}, {"w": view})
    for i in range(steps):
        full = torch.sin(torch.arange(source.numel()).view_as(source) + i) if gradient is None else gradient
        view.grad = full[window.index].clone() if window.index else full.clone()
        optimizer.step()
    state.take_back(optimizer, {"w": window}, {"w": view})


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw"])
@pytest.mark.parametrize("window", [ROWS, COLUMNS, CORNER], ids=["rows", "columns", "corner"])
def test_nothing_outside_a_slice_moves(name, window):
    settings = TrainingSettings(optimizer=name, weight_decay=0.1)
    source = weight()
    state = SharedOptimizerState({"weight": source})
    train(source, state, WHOLE, settings)
    before = source.detach().clone()
    moments = {k: v.clone() for k, v in state.state_dict().items() if "updates" not in k}
    train(source, state, window, settings)
    outside = torch.ones_like(before, dtype=torch.bool)
    outside[window.index] = False
    assert torch.equal(source[outside], before[outside])
    assert (source[~outside] != before[~outside]).all()
    for key, moment in moments.items():
        assert torch.equal(state.state_dict()[key][outside], moment[outside])


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw"])
def test_disjoint_slices_train_as_if_alone(name):
    """Rows 0-2 then rows 3-5 on shared state, against two separate tensors."""
    settings = TrainingSettings(optimizer=name, weight_decay=0.1)
    source, low, high = weight(), Window("weight", (slice(0, 3),)), Window("weight", (slice(3, 6),))
    state = SharedOptimizerState({"weight": source})
    expected = []
    for window in (low, high):
        alone = nn.Parameter(source.detach()[window.index].clone())
        optimizer = settings.build_optimizer([alone])
        for i in range(3):
            alone.grad = torch.sin(torch.arange(30).view(6, 5) + i)[window.index].clone()
            optimizer.step()
        expected.append(alone.detach())
    train(source, state, low, settings)
    train(source, state, high, settings)
    assert torch.equal(source.detach(), torch.cat(expected))


def test_a_row_touched_late_does_not_leap():
    """Bias correction counts the updates of the row seen least; else its first steps are several times too long."""
    settings = TrainingSettings(optimizer="adamw", learning_rate=0.1, weight_decay=0.0)
    source = weight()
    state = SharedOptimizerState({"weight": source})
    gradient = torch.ones(6, 5)
    train(source, state, ROWS, settings, steps=200, gradient=gradient)
    before = source.detach().clone()
    train(source, state, WHOLE, settings, steps=1, gradient=gradient)
    moved = (source.detach() - before).abs()
    assert moved[3:].max() <= 0.1001, "a row's first step must be at most the learning rate"


def test_updates_are_counted_where_they_happened():
    source = weight()
    state = SharedOptimizerState({"weight": source})
    settings = TrainingSettings(optimizer="adam")
    train(source, state, WHOLE, settings, steps=1)
    train(source, state, COLUMNS, settings, steps=4)
    train(source, state, WHOLE, settings, steps=2)
    # The last window is lent the smallest count, 1, and makes 2 updates everywhere.
    assert state.state_dict()["weight|updates1"].tolist() == [7, 7, 3, 3, 3]


def test_updates_are_counted_by_element_where_windows_slice_both_dimensions():
    source = weight()
    state = SharedOptimizerState({"weight": source})
    settings = TrainingSettings(optimizer="adam")
    train(source, state, WHOLE, settings, steps=1)
    train(source, state, COLUMNS, settings, steps=4)
    train(source, state, CORNER, settings, steps=2)
    train(source, state, ROWS, settings, steps=1)
    counts = state.state_dict()["weight|updates01"]
    assert counts[:3].tolist() == [[8, 8, 2, 2, 2]] * 3
    assert counts[3:].tolist() == [[5, 5, 1, 1, 1]] * 3
    again = SharedOptimizerState({"weight": source})
    again.load_state_dict(state.state_dict())
    train(source, again, COLUMNS, settings, steps=1)
    assert again.state_dict()["weight|updates01"][:, 0].tolist() == [9] * 3 + [6] * 3


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw"])
def test_four_corners_train_as_if_alone(name):
    settings = TrainingSettings(optimizer=name, weight_decay=0.1)
    source, gradient = weight(), torch.sin(torch.arange(30.0)).view(6, 5)
    start = source.detach().clone()
    corners = [Window("weight", (r, c)) for r in (slice(0, 3), slice(3, 6)) for c in (slice(0, 2), slice(2, 5))]
    state = SharedOptimizerState({"weight": source})
    for steps, window in enumerate(corners, start=1):
        train(source, state, window, settings, steps=steps, gradient=gradient)
    for steps, window in enumerate(corners, start=1):
        alone = nn.Parameter(start[window.index].clone())
        optimizer = settings.build_optimizer([alone])
        for _ in range(steps):
            alone.grad = gradient[window.index].clone()
            optimizer.step()
        assert torch.equal(source.detach()[window.index], alone.detach())


def test_state_survives_a_file(tmp_path):
    from safetensors.torch import load_file, save_file

    settings = TrainingSettings(optimizer="adamw")
    one, other = weight(), weight()
    states = [SharedOptimizerState({"weight": one}), SharedOptimizerState({"weight": other})]
    for source, state in zip((one, other), states, strict=True):
        train(source, state, ROWS, settings)
    save_file(states[1].state_dict(), tmp_path / "state.safetensors")
    states[1] = SharedOptimizerState({"weight": other})
    states[1].load_state_dict(load_file(tmp_path / "state.safetensors"))
    for source, state in zip((one, other), states, strict=True):
        train(source, state, WHOLE, settings)
    assert torch.equal(one, other)


def test_sgd_without_momentum_has_no_state():
    source = weight()
    state = SharedOptimizerState({"weight": source})
    train(source, state, WHOLE, TrainingSettings(momentum=0.0))
    assert state.state_dict() == {}


@pytest.mark.parametrize(
    ("optimizer", "message"),
    [
        (lambda p: torch.optim.AdamW(p, fused=True), "fused=False"),
        (lambda p: torch.optim.SGD(p, lr=0.1, fused=True), "fused=False"),
        (lambda p: torch.optim.Adam(p, amsgrad=True), "amsgrad=False"),
        (lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, dampening=0.1), "dampening=0"),
        (lambda p: torch.optim.RMSprop(p), "must use one of SGD, Adam, AdamW"),
        (lambda p: torch.optim.NAdam(p), "must use one of SGD, Adam, AdamW"),
    ],
)
def test_optimizers_that_leave_windows_are_refused(optimizer, message):
    with pytest.raises(InvalidInputError, match=message):
        check_optimizer(optimizer([weight()]))


def test_settings_never_build_a_fused_optimizer():
    for name in ("sgd", "adam", "adamw"):
        assert TrainingSettings(optimizer=name).build_optimizer([weight()]).defaults["fused"] is False
