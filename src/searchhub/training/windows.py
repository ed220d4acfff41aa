"""Optimizer state that follows the shared weights: it is lent to one subnet's optimizer at a time, as windows.

Without it, momentum would be lost between trials. torch's foreach and loop updates work in place on the lent views, so
they write through; nothing outside a window is touched.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from searchhub.errors import InvalidInputError
from searchhub.models.supernet import Window

_MOMENTS: dict[type[torch.optim.Optimizer], tuple[str, ...]] = {
    torch.optim.SGD: ("momentum_buffer",),
    torch.optim.Adam: ("exp_avg", "exp_avg_sq"),
    torch.optim.AdamW: ("exp_avg", "exp_avg_sq"),
}


class SharedOptimizerState:
    """The optimizer state of a supernet's parameters.

    Adam's `step` is one number per parameter. A window may cover rows that earlier windows did not, so updates are
    counted along the dimensions that windows slice, and a window is lent the smallest count in it. With a larger one,
    rows first touched late would move 3-6 times the learning rate.

    Args:
        parameters: The supernet's parameters by name.
    """

    def __init__(self, parameters: Mapping[str, nn.Parameter]) -> None:
        self._parameters = dict(parameters)
        self._moments: dict[str, dict[str, torch.Tensor]] = {}
        self._updates: dict[str, tuple[tuple[int, ...], torch.Tensor]] = {}  # counts over these dimensions

    def lend(
        self, optimizer: torch.optim.Optimizer, windows: Mapping[str, Window], parameters: Mapping[str, nn.Parameter]
    ) -> None:
        """Gives a fresh optimizer the state of a subnet's parameters.

        Args:
            optimizer: torch's SGD, Adam or AdamW over `parameters`, not wrapped.
            windows: The window of every parameter, by name.
            parameters: The subnet's parameters, by name.

        Raises:
            InvalidInputError: The optimizer is of another kind, is fused, or is a variant whose state is not a window.
        """
        check_optimizer(optimizer)
        momentum_free = isinstance(optimizer, torch.optim.SGD) and optimizer.defaults["momentum"] == 0
        if momentum_free:
            return
        for name, parameter in parameters.items():
            window = windows[name]
            moments = self._moments_of(window.source, _MOMENTS[type(optimizer)])
            state: dict[str, torch.Tensor] = {k: m[window.index] if window.index else m for k, m in moments.items()}
            if not isinstance(optimizer, torch.optim.SGD):
                state["step"] = torch.tensor(float(self._updates_in(window).min()))
            optimizer.state[parameter] = state

    def take_back(
        self, optimizer: torch.optim.Optimizer, windows: Mapping[str, Window], parameters: Mapping[str, nn.Parameter]
    ) -> None:
        """Counts the updates that the optimizer made; its moments are here already."""
        if isinstance(optimizer, torch.optim.SGD):
            return
        for name, parameter in parameters.items():
            window = windows[name]
            updates = self._updates_in(window)
            updates += int(optimizer.state[parameter]["step"].item()) - int(updates.min())

    def _moments_of(self, source: str, keys: tuple[str, ...]) -> dict[str, torch.Tensor]:
        if source not in self._moments:
            parameter = self._parameters[source]
            self._moments[source] = {key: torch.zeros_like(parameter.data) for key in keys}
        return self._moments[source]

    def _updates_in(self, window: Window) -> torch.Tensor:
        """Returns how often each part of a window was updated: an int64 view over the dimensions that windows slice."""
        shape = self._parameters[window.source].shape
        dims, updates = self._updates.get(window.source, ((), torch.zeros((), dtype=torch.int64)))
        for dim, part in enumerate(window.index):
            if dim not in dims and part.indices(shape[dim]) != (0, shape[dim], 1):
                at = sum(other < dim for other in dims)
                dims = (*dims[:at], dim, *dims[at:])
                updates = updates.unsqueeze(at).repeat_interleave(shape[dim], dim=at)
        self._updates[window.source] = (dims, updates)
        return updates[tuple(window.index[dim] if dim < len(window.index) else slice(None) for dim in dims)]

    # -- files --------------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Returns all tensors under "{parameter}|{key}", for safetensors."""
        state = {f"{name}|{key}": m for name, moments in self._moments.items() for key, m in moments.items()}
        return state | {
            f"{name}|updates{''.join(map(str, dims))}": updates for name, (dims, updates) in self._updates.items()
        }

    def load_state_dict(self, state: Mapping[str, torch.Tensor]) -> None:
        """Restores what `state_dict` returned."""
        self._moments.clear()
        self._updates.clear()
        for full_name in sorted(state):
            name, _, key = full_name.rpartition("|")
            if key.startswith("updates"):
                self._updates[name] = (tuple(map(int, key.removeprefix("updates"))), state[full_name].clone())
            else:
                moment = torch.zeros_like(self._parameters[name].data).copy_(state[full_name])
                self._moments.setdefault(name, {})[key] = moment


def check_optimizer(optimizer: torch.optim.Optimizer) -> None:
    """Refuses optimizers whose updates do not stay within windows.

    Raises:
        InvalidInputError: The optimizer is none of those allowed; the message says what must hold and the way out.
    """
    if type(optimizer) not in _MOMENTS:
        names = ", ".join(kind.__name__ for kind in _MOMENTS)
        raise InvalidInputError(
            f"A search must use one of {names} (torch.optim), whose state can follow shared weights, but got "
            f"{type(optimizer).__name__}. Extracted models train with any optimizer."
        )
    for group in optimizer.param_groups:
        if group.get("fused"):
            raise InvalidInputError(
                "`fused=False` must hold in a search: fused updates write outside of windows on shared weights. "
                "Leave `fused` out; foreach is as exact and nearly as fast."
            )
        if group.get("amsgrad") or group.get("dampening"):
            raise InvalidInputError(
                "`amsgrad=False` and `dampening=0` must hold in a search: their first update differs from later ones, "
                "which shared weights seen by many subnets do not have."
            )
