"""Re-solves the output matrices that a cut narrows, by least squares, from what the whole network computes."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn
from transformers import PreTrainedModel

from searchhub.errors import InvalidInputError
from searchhub.files import replacing
from searchhub.models.bert.supernet_bert import BertSupernetForSequenceClassification
from searchhub.models.identity import weights_digest
from searchhub.space import Architecture
from searchhub.spaces.bert import DEPTH, heads_choice, intermediate_choice, kept_layers

RIDGE = 1e-2
"""Weight of the distance to the matrix that is only cut, relative to the inputs' variance."""

ATTENTION, FEED_FORWARD = "attention.output.dense", "output.dense"
"""The linear layers of a BERT layer whose inputs a cut leaves some of."""

Place = tuple[int, str]
"""An output matrix: number of its layer in the checkpoint, and its name there."""


class BertReconstruction:
    """Output matrices that make up for the heads and neurons that a network was left without.

    Of the n inputs x of an output matrix, of attention or of the feed-forward part, a network keeps the first k. Where
    the whole network computes W x + c, a network that is only cut computes W_k x_k + c. Here it gets the A and b that
    minimise, over the tokens of some texts,

        mean |A x_k + b − (W x + c)|²  +  ridge · v · |A − W_k|²

    where v is the mean variance of the inputs (Kwon et al. 2022 and ZipLM solve for the same distance). Both sides have
    the activations of the whole network, so that A and b depend on the matrix and on k alone. With the covariance C of
    the inputs, their mean m, and C + ridge · v · I = L Lᵀ, leading blocks of L serve every k:

        A = W_k + W_rest L_rest,k L_kk⁻¹        b = c + W_rest m_rest − (A − W_k) m_k

    1. k = n gives W and c to the bit; k = 0 leaves b alone, the mean output.
    2. Where there are fewer tokens than inputs, the ridge decides what they leave open.
    3. L has n² numbers in the precision of the weights: in float32 they take 480 MB for all output matrices of
       BERT-base, 60 MB for a MiniLM of 6 layers. To them come copies of W, and matrices that were solved once.

    `gather_reconstruction` makes it; `load` reads it.

    Args:
        supernet: The whole network. Its output matrices are copied, so that a training of it changes nothing here.
        factors: L of each output matrix, [n, n], lower triangles.
        means: m of each, [n].
        settings: How it was gathered, as plain JSON.
        parent: Digest of the weights of the whole network.
        data: Words that tell the texts apart from others; they are compared, not read.
    """

    def __init__(
        self,
        supernet: BertSupernetForSequenceClassification,
        factors: Mapping[Place, torch.Tensor],
        means: Mapping[Place, torch.Tensor],
        settings: Mapping[str, Any],
        *,
        parent: str,
        data: str = "",
    ) -> None:
        self.settings = dict(settings)
        self.parent, self.data = parent, data
        self._num_layers, self._head_size = supernet.config.num_hidden_layers, supernet.config.attention_head_size
        self._factors, self._means = dict(factors), dict(means)
        self._whole = {
            place: (linear.weight.detach().clone(), linear.bias.detach().clone())
            for place, linear in _output_matrices(supernet).items()
        }
        self._solved: dict[tuple[Place, int], tuple[torch.Tensor, torch.Tensor]] = {}

    @torch.no_grad()
    def solve(self, layer: int, name: str, kept: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns A [hidden size, kept] and b [hidden size] of an output matrix that keeps its first inputs.

        Args:
            layer: Number of the layer in the checkpoint.
            name: `ATTENTION` or `FEED_FORWARD`.
            kept: k, number of inputs that are kept, from 0 to all of them.
        """
        place = layer, name
        if (place, kept) not in self._solved:
            weight, bias = (tensor.double() for tensor in self._whole[place])
            if kept < weight.shape[1]:
                rows, mean = self._factors[place], self._means[place].double()
                rest = weight[:, kept:]
                more = torch.linalg.solve_triangular(
                    rows[:kept, :kept].double(), rest @ rows[kept:, :kept].double(), upper=False, left=False
                )
                bias = bias + rest @ mean[kept:] - more @ mean[:kept]
                weight = weight[:, :kept] + more
            whole = self._whole[place][0]
            self._solved[place, kept] = weight.to(whole.dtype), bias.to(whole.dtype)
        return self._solved[place, kept]

    def apply(self, model: PreTrainedModel, architecture: Architecture) -> None:
        """Gives a model of the supernet the output matrices that are solved for its sizes, as parameters of its own.

        What they replace is left as it is: parameters of a subnet are windows on the supernet's weights. A matrix that
        keeps all its inputs stays, too, and a part of a layer that is left out stays out.

        Args:
            model: A model that `subnet` or `extract` made of this architecture.
            architecture: Sizes of the model, on offer in the space or not.
        """
        for i, layer in enumerate(kept_layers(int(architecture[DEPTH]), self._num_layers)):
            sizes = {
                ATTENTION: int(architecture[heads_choice(layer)]) * self._head_size,
                FEED_FORWARD: int(architecture[intermediate_choice(layer)]),
            }
            for name, kept in sizes.items():
                if kept in (0, len(self._means[layer, name])):
                    continue
                linear = model.base_model.encoder.layer[i].get_submodule(name)
                for attribute, solved in zip(("weight", "bias"), self.solve(layer, name, kept), strict=True):
                    old = getattr(linear, attribute)
                    own = solved.to(device=old.device, dtype=old.dtype, copy=True)
                    setattr(linear, attribute, nn.Parameter(own, requires_grad=old.requires_grad))

    def save(self, path: Path) -> None:
        """Writes a safetensors file, whole or not at all. It names the weights and the texts that it was made of.

        Raises:
            RunFolderError: The place cannot be written to.
        """
        tensors = {f"{layer}.{name}.factor": factor.contiguous() for (layer, name), factor in self._factors.items()}
        tensors |= {f"{layer}.{name}.mean": mean for (layer, name), mean in self._means.items()}
        about = {"parent": self.parent, "data": self.data, "settings": json.dumps(self.settings)}
        with replacing(path) as temporary:
            save_file(tensors, temporary, metadata=about)

    @classmethod
    def load(
        cls, path: Path, supernet: BertSupernetForSequenceClassification, *, data: str | None = None
    ) -> BertReconstruction:
        """Reads what `save` wrote.

        Args:
            path: The file.
            supernet: The whole network that it was made of, with the same weights.
            data: Words for the texts that it must be of. None: any.

        Raises:
            InvalidInputError: The file cannot be read, or is of other weights or other texts.
        """
        try:
            with safe_open(path, framework="pt", device=str(supernet.device)) as file:
                about = file.metadata() or {}
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            places = list(_output_matrices(supernet))
            factors = {place: tensors["{}.{}.factor".format(*place)] for place in places}
            means = {place: tensors["{}.{}.mean".format(*place)] for place in places}
            settings, parent, of_data = json.loads(about["settings"]), about["parent"], about["data"]
        except (OSError, SafetensorError, KeyError, ValueError) as error:
            raise InvalidInputError(
                f"`{path}` must hold what `BertReconstruction.save` wrote, but: {error!r}. Delete it; then it is made "
                "anew."
            ) from error
        for what, found, wanted in (("weights", parent, weights_digest(supernet)), ("texts", of_data, data)):
            if wanted not in (None, found):
                raise InvalidInputError(
                    f"`{path}` must be made of these {what} ({wanted}), but is of others ({found}). Delete it; then it "
                    "is made anew."
                )
        return cls(supernet, factors, means, settings, parent=parent, data=of_data)


@torch.no_grad()
def gather_reconstruction(
    supernet: BertSupernetForSequenceClassification,
    batches: Iterable[Mapping[str, torch.Tensor]],
    *,
    ridge: float = RIDGE,
    data: str = "",
) -> BertReconstruction:
    """Runs the whole network once over some texts, and returns what output matrices of any cut are solved from.

    Dropout is off, and padding does not count. If several processes run, the batches of all of them count, and all get
    the same result.

    Args:
        supernet: The whole network, whose heads and neurons are ordered already. It is not changed.
        batches: Keyword arguments of the model, on any device; labels are not looked at.
        ridge: Weight of the distance to the matrix that is only cut, relative to the inputs' variance; more than 0.
        data: Words that tell the texts apart from others, see `BertReconstruction.load`.

    Raises:
        InvalidInputError: There is no token, activations are not finite, or the ridge is too small for what they leave
            open.
    """
    if not ridge > 0:
        raise InvalidInputError(f"`ridge > 0` must hold, but got {ridge}.")
    places = _output_matrices(supernet)
    moments = {place: _Moments(linear.weight) for place, linear in places.items()}
    with _recording(supernet, {linear: moments[place] for place, linear in places.items()}) as run:
        for batch in batches:
            run(batch)
    factors, means = {}, {}
    for place, of_place in moments.items():
        of_place.join()
        factors[place], means[place] = of_place.factor(ridge), of_place.mean
    tokens = next(iter(moments.values())).count
    settings = {"tokens": tokens, "ridge": ridge}
    return BertReconstruction(supernet, factors, means, settings, parent=weights_digest(supernet), data=data)


class _Moments:
    """Number, mean and scatter matrix Σ (x − m)(x − m)ᵀ of rows that come in parts (Chan et al. 1983).

    Sums of squares about the mean lose nothing to cancellation, so that float32 does.

    Args:
        weight: The matrix whose inputs the rows are. It gives device and precision.
    """

    def __init__(self, weight: torch.Tensor) -> None:
        size, dtype = weight.shape[1], torch.promote_types(weight.dtype, torch.float32)
        self.count = 0
        self.mean = torch.zeros(size, dtype=dtype, device=weight.device)
        self.scatter = torch.zeros(size, size, dtype=dtype, device=weight.device)

    def add(self, rows: torch.Tensor) -> None:
        """Counts rows [n, size] in."""
        n = len(rows)
        if not n:
            return
        rows = rows.to(self.mean.dtype)
        mean = rows.mean(0)
        away, total = mean - self.mean, self.count + n
        # One more row stands for the distance between the means of this part and of those before it.
        rows = torch.cat([rows - mean, math.sqrt(self.count * n / total) * away[None]])
        self.scatter.addmm_(rows.T, rows)
        self.mean += n / total * away
        self.count = total

    def join(self) -> None:
        """Counts the rows of all processes in."""
        if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
            return
        count = torch.tensor(self.count, dtype=torch.float64, device=self.mean.device)
        torch.distributed.all_reduce(count)
        total = int(count)
        mean = self.count / max(total, 1) * self.mean
        torch.distributed.all_reduce(mean)
        away = self.mean - mean
        self.scatter.addr_(away, away, alpha=self.count)
        torch.distributed.all_reduce(self.scatter)
        self.count, self.mean = total, mean

    def factor(self, ridge: float) -> torch.Tensor:
        """Returns L [size, size] of the covariance with a ridge, in the memory of the scatter matrix."""
        if not self.count:
            raise InvalidInputError("Output matrices are solved from at least one text, but got none. Give some.")
        covariance = self.scatter.double() / self.count
        variance = covariance.diagonal().mean().item()
        if not math.isfinite(variance):
            raise InvalidInputError(
                "Activations must be finite for output matrices to be solved, but are not. Check the checkpoint."
            )
        covariance.diagonal().add_(ridge * (variance or 1.0))  # without any variance every ridge is as good
        factor, failed = torch.linalg.cholesky_ex(covariance)
        if failed:
            raise InvalidInputError(
                f"`ridge` must be larger than {ridge:g} for output matrices to be solved from {self.count} tokens of "
                f"{len(self.mean)} activations each. Give more texts, or raise it."
            )
        return self.scatter.copy_(factor)


def _output_matrices(supernet: BertSupernetForSequenceClassification) -> dict[Place, nn.Linear]:
    return {
        (i, name): layer.get_submodule(name)
        for i, layer in enumerate(supernet.bert.encoder.layer)
        for name in (ATTENTION, FEED_FORWARD)
    }


@contextmanager
def _recording(supernet: BertSupernetForSequenceClassification, moments: Mapping[nn.Module, _Moments]) -> Iterator[Any]:
    """Yields a function that runs the whole encoder on a batch and counts the inputs of some modules in."""
    is_text: list[torch.Tensor] = []

    def record(module: nn.Module, received: tuple[torch.Tensor, ...]) -> None:
        moments[module].add(received[0][is_text[0]])

    def run(batch: Mapping[str, torch.Tensor]) -> None:
        inputs = {name: tensor.to(supernet.device) for name, tensor in batch.items() if name != "labels"}
        mask = inputs.get("attention_mask", torch.ones_like(inputs["input_ids"]))
        is_text[:] = [mask.bool()]
        supernet.bert(**inputs)

    hooks = [module.register_forward_pre_hook(record) for module in moments]
    training = supernet.training
    supernet.eval()
    try:
        yield run
    finally:
        for hook in hooks:
            hook.remove()
        supernet.train(training)
