"""A supernet holds the shared weights; a subnet is an ordinary model whose parameters are windows on them."""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.initialization import no_init_weights

from searchhub.errors import InvalidInputError
from searchhub.models.papers import bibtex
from searchhub.models.publishing import PublishMixin
from searchhub.space import Architecture, SearchSpace


@dataclass(frozen=True)
class Window:
    """The part of a supernet's parameter that a subnet's parameter covers.

    Args:
        source: Name of the supernet's parameter.
        index: One slice for each dimension. Empty: the whole parameter, shared as the same object.
    """

    source: str
    index: tuple[slice, ...] = ()


class Supernet(PublishMixin, PreTrainedModel):
    """Shared weights of every architecture of a space.

    A family implements `search_space`, `subnet_class`, `subnet_config`, `window` and `choice_modules`, and says where
    it is `chain_coupled`. There is no state to set or reset: `subnet(a)` is a model of the class that is published. Its
    shells (modules, BatchNorm buffers) are its own, its parameters are the supernet's, so optimizers that update in
    place write through and nothing outside the window is computed, reduced or moved.
    """

    subnet_class: type[PreTrainedModel]

    papers: tuple[str, ...] = ("ddpnas",)
    """What the cards of its models cite: keys of `searchhub.models.papers.PAPERS`, or BibTeX entries of your own."""

    embedding_modules: tuple[str, ...] = ()
    """Modules of the subnets that embed tokens, for costs that leave them out."""

    chain_coupled: bool = False
    """Whether the modules that a choice decides also depend on the choice before it (its channels are their input)."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        bibtex(cls.papers, f"{cls.__name__}.papers")  # says now, and not after a search, what is wrong with them

    @property
    @abstractmethod
    def search_space(self) -> SearchSpace:
        """The space of what may vary."""

    @property
    def final(self) -> Supernet:
        """The supernet whose networks are trained for publication. Costs and limits refer to it.

        It is `self` unless search networks are smaller (cells); then it holds no weights (meta device).
        """
        return self

    @abstractmethod
    def subnet_config(self, architecture: Architecture) -> PreTrainedConfig:
        """Returns the configuration of an architecture's model."""

    @abstractmethod
    def window(self, name: str, architecture: Architecture) -> Window:
        """Returns the part of the supernet that the parameter `name` of an architecture's model covers."""

    @abstractmethod
    def choice_modules(self, architecture: Architecture) -> Mapping[str, Sequence[str]]:
        """Returns, for each active choice, the modules of the architecture's model that it decides; costs count these.

        A choice on which others depend (a depth) may have no modules: it costs what remains.
        """

    def example_inputs(self) -> dict[str, Any]:
        """Returns shapes (as meta tensors) of one example, for counting multiply-adds."""
        raise InvalidInputError(f"`{type(self).__name__}` must define `example_inputs` for its costs to be counted.")

    def windows(self, subnet: PreTrainedModel, architecture: Architecture) -> dict[str, Window]:
        """Returns the window of every parameter of a subnet, by the subnet's parameter names."""
        return {name: self.window(name, architecture) for name, _ in subnet.named_parameters()}

    def subnet(self, architecture: Architecture) -> PreTrainedModel:
        """Returns the model of an architecture, on shared weights. Its BatchNorm statistics start anew.

        Raises:
            InvalidInputError: The architecture does not belong to this space.
        """
        self.search_space.encode(architecture)
        return self.subnet_of_any_size(architecture)

    def subnet_of_any_size(self, architecture: Architecture) -> PreTrainedModel:
        """Does the same as `subnet` for any sizes that the supernet has weights for, on offer in the space or not."""
        with no_init_weights():
            model = self.subnet_class(self.subnet_config(architecture))
        shared = dict(self.named_parameters())
        for name, window in self.windows(model, architecture).items():
            parameter = shared[window.source]
            if window.index:
                parameter = nn.Parameter(parameter.data[window.index], requires_grad=parameter.requires_grad)
            module_name, _, attribute = name.rpartition(".")
            module = model.get_submodule(module_name)
            assert getattr(module, attribute).shape == parameter.shape, (name, window)
            setattr(module, attribute, parameter)
        for module in model.modules():
            if isinstance(module, nn.modules.batchnorm._NormBase):
                module.reset_running_stats()
        return model.to(self.device).train(self.training)

    def extract(self, subnet: PreTrainedModel | Architecture) -> PreTrainedModel:
        """Returns a model with its own copy of the weights, to train alone and publish.

        Args:
            subnet: A model that `subnet` made, whose BatchNorm statistics are copied too; or an architecture, for which
                they start anew.
        """
        return copy.deepcopy(self.subnet(subnet) if isinstance(subnet, Architecture) else subnet)

    def forward(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Raises an error: a supernet is not a network.

        Raises:
            TypeError: Always.
        """
        raise TypeError("A supernet has no forward of its own: call `supernet.subnet(architecture)(...)`.")
