"""What every supernet must keep to. Needs torch, unlike the other contracts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from transformers import PreTrainedModel

from searchhub.models.shells import Shells
from searchhub.models.supernet import Supernet
from searchhub.space import Architecture
from searchhub.training.settings import OptimizerName, TrainingSettings
from searchhub.training.windows import SharedOptimizerState

OPTIMIZERS: tuple[OptimizerName, ...] = ("sgd", "adam", "adamw")


class SupernetContract:
    """Tests of a supernet; a subclass has the fixtures `supernet` (small, seeded) and `batch` (inputs with labels)."""

    def architectures(self, supernet: Supernet, n: int) -> list[Architecture]:
        """Distinct random architectures."""
        space = supernet.search_space
        found = dict.fromkeys(space.decode(row) for row in space.sample(50 * n, np.random.default_rng(0)))
        assert len(found) >= n, "give the fixture a space of more architectures"
        return list(found)[:n]

    def step(
        self,
        supernet: Supernet,
        architecture: Architecture,
        state: SharedOptimizerState,
        batch: dict[str, torch.Tensor],
        optimizer_name: OptimizerName,
        steps: int = 2,
    ) -> nn.Module:
        """Train a path as a trial does."""
        settings = TrainingSettings(optimizer=optimizer_name, learning_rate=0.01, weight_decay=0.1)
        subnet = supernet.subnet(architecture).train()
        parameters = dict(subnet.named_parameters())
        windows = supernet.windows(subnet, architecture)
        optimizer = settings.build_optimizer(parameters.values())
        state.lend(optimizer, windows, parameters)
        for _ in range(steps):
            subnet(**batch).loss.backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        state.take_back(optimizer, windows, parameters)
        return subnet

    def test_subnet_is_what_is_published(self, supernet: Supernet) -> None:
        for architecture in self.architectures(supernet, 3):
            subnet = supernet.subnet(architecture)
            assert type(subnet) is supernet.subnet_class
            alone = supernet.subnet_class(supernet.subnet_config(architecture))
            assert {n: p.shape for n, p in subnet.named_parameters()} == {
                n: p.shape for n, p in alone.named_parameters()
            }

    def test_parameters_are_windows_on_the_supernet(self, supernet: Supernet) -> None:
        shared = dict(supernet.named_parameters())
        for architecture in self.architectures(supernet, 3):
            subnet = supernet.subnet(architecture)
            for name, window in supernet.windows(subnet, architecture).items():
                source = shared[window.source].data
                expected = source[window.index] if window.index else source
                actual = subnet.get_parameter(name)
                assert actual.data_ptr() == expected.data_ptr(), name
                assert actual.stride() == expected.stride(), name

    def test_subnet_and_extract_agree_bit_for_bit(self, supernet: Supernet, batch: dict[str, torch.Tensor]) -> None:
        architecture = self.architectures(supernet, 1)[0]
        subnet = self.step(supernet, architecture, _state(supernet), batch, "sgd").eval()
        extracted = supernet.extract(subnet)
        with torch.no_grad():
            assert torch.equal(subnet(**batch).logits, extracted(**batch).logits)
        shared = {p.untyped_storage().data_ptr() for p in supernet.parameters()}
        assert not shared & {p.untyped_storage().data_ptr() for p in extracted.parameters()}
        for a, b in zip(subnet.buffers(), extracted.buffers(), strict=True):
            assert torch.equal(a, b)
            assert a.data_ptr() != b.data_ptr()

    def test_shells_are_the_subnets_own(self, supernet: Supernet, batch: dict[str, torch.Tensor]) -> None:
        """Training mode passes of one path leave another path's outputs and all the supernet's buffers alone."""
        one, other = (supernet.subnet(a) for a in self.architectures(supernet, 2))
        before = [b.clone() for b in supernet.buffers()]
        with torch.no_grad():
            expected = one.eval()(**batch).logits
            for _ in range(3):
                other.train()(**batch)
            assert torch.equal(one(**batch).logits, expected)
        assert all(torch.equal(a, b) for a, b in zip(before, supernet.buffers(), strict=True))

    @pytest.mark.parametrize("optimizer_name", OPTIMIZERS)
    def test_nothing_outside_a_window_moves(
        self, supernet: Supernet, batch: dict[str, torch.Tensor], optimizer_name: OptimizerName
    ) -> None:
        """Not even through momentum and weight decay of what an earlier trial trained."""
        first, second = self.architectures(supernet, 2)
        state = _state(supernet)
        self.step(supernet, first, state, batch, optimizer_name)
        before = {n: p.detach().clone() for n, p in supernet.named_parameters()}
        subnet = self.step(supernet, second, state, batch, optimizer_name)
        inside = {n: torch.zeros_like(p, dtype=torch.bool) for n, p in before.items()}
        for window in supernet.windows(subnet, second).values():
            inside[window.source][window.index if window.index else ...] = True
        moved = {n: p.detach() != before[n] for n, p in supernet.named_parameters()}
        assert all(not (moved[n] & ~inside[n]).any() for n in moved)
        assert any(moved[n].any() for n in moved)
        assert any((~inside[n]).any() for n in inside), "the two architectures must differ in their parameters"

    @pytest.mark.parametrize("optimizer_name", OPTIMIZERS)
    def test_optimizer_state_follows_the_weights(
        self, supernet: Supernet, batch: dict[str, torch.Tensor], optimizer_name: OptimizerName
    ) -> None:
        """Two trials of one path are one longer training, bit for bit."""
        architecture = self.architectures(supernet, 1)[0]
        start = {n: p.detach().clone() for n, p in supernet.named_parameters()}
        self.step(supernet, architecture, _state(supernet), batch, optimizer_name, steps=4)
        once = {n: p.detach().clone() for n, p in supernet.named_parameters()}
        with torch.no_grad():
            for name, parameter in supernet.named_parameters():
                parameter.copy_(start[name])
        state = _state(supernet)
        for _ in range(2):
            self.step(supernet, architecture, state, batch, optimizer_name, steps=2)
            saved = {n: t.clone() for n, t in state.state_dict().items()}
            state = _state(supernet)
            state.load_state_dict(saved)
        assert all(torch.equal(p, once[n]) for n, p in supernet.named_parameters())

    def test_a_supernet_is_a_pretrained_model(self, supernet: Supernet, tmp_path: Any) -> None:
        supernet.save_pretrained(tmp_path)
        loaded = type(supernet).from_pretrained(tmp_path)
        assert loaded.search_space == supernet.search_space
        for (name, a), (_, b) in zip(supernet.named_parameters(), loaded.named_parameters(), strict=True):
            assert torch.equal(a, b), name

    def test_pushing_is_publishing(self, supernet: Supernet) -> None:
        for kind in (type(supernet), supernet.subnet_class):
            for method in ("push_to_hub", "save_pretrained"):
                assert getattr(kind, method) is not getattr(PreTrainedModel, method), (
                    f"`{kind.__name__}.{method}` must not be transformers' own, which pushes without code and card, "
                    f"over whatever is there. Let `{kind.__name__}` inherit `searchhub.models.publishing.PublishMixin` "
                    "before `PreTrainedModel`."
                )

    def test_choice_modules_are_modules(self, supernet: Supernet) -> None:
        parents = {c.condition.choice for c in supernet.search_space.choices if c.condition is not None}
        for architecture in self.architectures(supernet, 3):
            decided = supernet.choice_modules(architecture)
            subnet = supernet.subnet(architecture)
            assert [c for c in architecture if c in decided or c not in parents] == list(decided)
            names = [name for modules in decided.values() for name in modules]
            assert len(set(names)) == len(names)
            for name in names:
                subnet.get_submodule(name)

    def test_shells_are_the_subnets(self, supernet: Supernet, batch: dict[str, torch.Tensor]) -> None:
        """Models put together from modules that were made before do what models made anew do, to the bit."""
        shells = Shells(supernet)
        for architecture in self.architectures(supernet, 8):
            expected, model = supernet.subnet(architecture), shells.model(architecture)
            assert {n: m.extra_repr() for n, m in model.named_modules()} == {
                n: m.extra_repr() for n, m in expected.named_modules()
            }
            for training in (True, False):
                torch.manual_seed(0)
                known = expected.train(training)(**batch)
                torch.manual_seed(0)
                assert torch.equal(model.train(training)(**batch).logits, known.logits)
                for module in (*model.modules(), *expected.modules()):
                    if isinstance(module, nn.modules.batchnorm._NormBase):
                        module.reset_running_stats()
            windows, names = shells.windows(architecture), {p: name for name, p in model.named_parameters()}
            assert {names[p]: window for p, window in windows.items()} == supernet.windows(expected, architecture)

    def test_final_networks_are_of_the_same_space(self, supernet: Supernet) -> None:
        assert supernet.final.search_space == supernet.search_space
        assert supernet.final.subnet_class is supernet.subnet_class
        assert supernet.final.final is supernet.final

    def test_a_supernet_has_no_forward(self, supernet: Supernet, batch: dict[str, torch.Tensor]) -> None:
        with pytest.raises(TypeError, match="subnet"):
            supernet(**batch)


def _state(supernet: Supernet) -> SharedOptimizerState:
    return SharedOptimizerState(dict(supernet.named_parameters()))
