import math

import numpy as np
import pytest
import torch

from searchhub.costs.table import CostTable
from searchhub.errors import InvalidInputError
from searchhub.space import Choice, SearchSpace
from searchhub.training.gumbel import CostTerm, MixtureSettings, gumbel_noise, gumbel_softmax
from searchhub.training.settings import TrainingSettings

SPACE = SearchSpace("two", (Choice("a", ("x", "y")), Choice("b", ("x", "y"))))
TABLE = CostTable("macs", SPACE, 10.0, (np.array([0.0, 4.0]), np.array([2.0, 6.0])), "multiply-adds")


def test_the_largest_of_noisy_logits_is_drawn_with_its_softmax():
    """The Gumbel trick; at a low temperature the draw is one candidate."""
    logits = torch.tensor([1.0, 0.0, -1.0]).repeat(20_000, 1)
    drawn = gumbel_softmax(logits, gumbel_noise((20_000, 3), seed=0), 0.01)
    assert drawn.sum(-1).allclose(torch.ones(20_000))
    frequencies = torch.bincount(drawn.argmax(-1), minlength=3) / 20_000
    torch.testing.assert_close(frequencies, logits[0].softmax(-1), atol=0.01, rtol=0)


def test_noise_has_the_mean_and_variance_of_gumbel():
    noise = gumbel_noise((100_000,), seed=1)
    assert noise.mean().item() == pytest.approx(0.5772, abs=0.02)
    assert noise.var().item() == pytest.approx(math.pi**2 / 6, abs=0.05)
    assert torch.equal(noise, gumbel_noise((100_000,), seed=1))
    assert torch.isfinite(noise).all()


def test_a_high_temperature_flattens():
    noise = gumbel_noise((4, 3), seed=0)
    flat = gumbel_softmax(torch.zeros(4, 3), noise, 1e4)
    torch.testing.assert_close(flat, torch.full((4, 3), 1 / 3), atol=1e-3, rtol=0)


def test_the_cost_of_a_mixture_is_the_mean_of_its_candidates():
    term = CostTerm(TABLE, MixtureSettings(cost_factor=0.5, cost_exponent=2.0))
    weights = torch.tensor([[0.25, 0.75], [1.0, 0.0]], requires_grad=True)
    assert term.cost(weights).item() == pytest.approx(10 + 3 + 2)
    value = term(weights)
    assert value.item() == pytest.approx(0.5 * math.log(15) ** 2)
    value.backward()
    # d/dm of 0.5 log(c)^2 is log(c) / c times the entry.
    torch.testing.assert_close(weights.grad, math.log(15) / 15 * torch.tensor([[0.0, 4.0], [2.0, 6.0]]))


def test_a_cost_without_a_logarithm_is_refused():
    table = CostTable("latency", SPACE, 0.0, (np.array([0.1, 4.0]), np.array([0.9, 6.0])), "s")
    with pytest.raises(InvalidInputError, match=r"falls to 1\. Give it in a smaller unit"):
        CostTerm(table, MixtureSettings())


def test_the_defaults_are_the_papers():
    settings = MixtureSettings()
    assert (settings.epochs, settings.warmup_epochs) == (90, 10)
    logits = settings.of_logits(TrainingSettings(batch_size=192, gradient_accumulation_steps=3, label_smoothing=0.1))
    assert (logits.optimizer, logits.learning_rate, logits.weight_decay) == ("adam", 0.01, 5e-4)
    assert (logits.batch_size, logits.gradient_accumulation_steps, logits.label_smoothing) == (192, 3, 0.0)
    assert {logits.learning_rate_at(step, 100) for step in (0, 50, 99)} == {0.01}
    assert settings.temperature_at(0) == 5.0
    assert settings.temperature_at(2) == pytest.approx(5 * 0.956**2)


@pytest.mark.parametrize(
    "changes",
    [
        {"epochs": 0},
        {"warmup_epochs": 90},
        {"warmup_epochs": -1},
        {"learning_rate": -1.0},
        {"learning_rate": 0.0},
        {"weight_decay": -1.0},
        {"temperature": 0.0},
        {"temperature_decay": 1.1},
        {"cost_factor": 0.0},
        {"cost_exponent": -1.0},
    ],
)
def test_impossible_settings_are_refused(changes):
    with pytest.raises(InvalidInputError, match="must hold"):
        MixtureSettings(**changes)
