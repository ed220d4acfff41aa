"""Treats a model as a function from tensors to tensors, and makes random inputs of the shapes that it takes."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from searchhub.errors import InvalidInputError
from searchhub.files import read_json_object
from searchhub.models.pictures import height_and_width
from searchhub.models.supernet import Supernet

PIXELS, TOKENS, MASK, TYPES = "pixel_values", "input_ids", "attention_mask", "token_type_ids"
"""Names of the inputs in transformers."""

BATCH, SEQUENCE, HEIGHT, WIDTH = "batch", "sequence", "height", "width"
"""Names of the axes that may have any length."""


@dataclass(frozen=True)
class ModelInputs:
    """The inputs that a model takes, from which it makes batches.

    Args:
        config: Configuration of the model.
        names: Names of the inputs, in the order in which an exported network takes them.
        picture: (channels, height, width). None: the model takes text.
        any_size: Whether exported networks take pictures of any other height and width, too.
    """

    config: Any
    names: tuple[str, ...]
    picture: tuple[int, int, int] | None
    any_size: bool = False

    @classmethod
    def of(cls, model: PreTrainedModel, folder: Path | None = None) -> ModelInputs:
        """Returns the inputs of a model: pictures, or tokens with what else its `forward` and configuration support.

        A class of models says by `takes_any_size = True` that pictures may have any height and width.

        Args:
            model: A model whose `main_input_name` says what it takes.
            folder: Folder that may hold an image processor, whose size counts before the configuration's.

        Raises:
            InvalidInputError: The model takes something else, or the size of its pictures is stated nowhere.
        """
        accepted = inspect.signature(model.forward).parameters
        if model.main_input_name == PIXELS:
            return cls(model.config, (PIXELS,), _picture(model, folder), getattr(model, "takes_any_size", False))
        if model.main_input_name != TOKENS or TOKENS not in accepted:
            raise InvalidInputError(
                f"A model that takes `{PIXELS}` or `{TOKENS}` must be given, but `{type(model).__name__}` takes "
                f"`{model.main_input_name}`."
            )
        names = [TOKENS, MASK]
        if (getattr(model.config, "type_vocab_size", None) or 0) > 1:
            names.append(TYPES)
        return cls(model.config, tuple(name for name in names if name in accepted), None)

    @property
    def axes(self) -> dict[str, dict[int, str]]:
        """For each input, the axes that may have any length, with their names."""
        pictures = {0: BATCH, 2: HEIGHT, 3: WIDTH} if self.any_size else {0: BATCH}
        return {name: pictures if self.picture else {0: BATCH, 1: SEQUENCE} for name in self.names}

    @property
    def longest(self) -> int:
        """The longest sequence that the model has positions for."""
        return getattr(self.config, "max_position_embeddings", None) or 512

    def batch(self, size: int, length: int, *, padded: bool = False, seed: int = 0) -> dict[str, torch.Tensor]:
        """Returns a batch of noise: float32 pixel_values [size, channels, height, width], or int64 [size, length] each.

        Args:
            size: Number of examples.
            length: Number of tokens of each example. Pictures have none.
            padded: Whether the later half of the examples end early, the last after one token.
            seed: Seed of the noise. Where pictures may have any size, only those of seed 0 have the model's own; others
                are about half as high and wide, each seed's differently.
        """
        generator = torch.Generator().manual_seed(seed)
        if self.picture:
            channels, height, width = self.picture
            if self.any_size and seed:
                height, width = height // 2 + seed, width // 2 + 2 * seed
            return {PIXELS: torch.randn(size, channels, height, width, generator=generator)}

        def integers(below: int) -> torch.Tensor:
            return torch.randint(0, below, (size, length), generator=generator)

        made = {TOKENS: integers(self.config.vocab_size), MASK: torch.ones(size, length, dtype=torch.int64)}
        if TYPES in self.names:
            made[TYPES] = integers(self.config.type_vocab_size)
        if padded:
            for row in range(size // 2, size):
                end = 1 + (length - 1) * (size - 1 - row) // size
                made[MASK][row, end:] = 0
                made[TOKENS][row, end:] = getattr(self.config, "pad_token_id", None) or 0
        return {name: made[name] for name in self.names}


def _picture(model: PreTrainedModel, folder: Path | None) -> tuple[int, int, int]:
    settings = (read_json_object(folder / "preprocessor_config.json") if folder else None) or {}
    named = settings.get("crop_size") if settings.get("do_center_crop") else settings.get("size")
    size = height_and_width(named) or height_and_width(getattr(model.config, "image_size", None))
    if size is None:
        raise InvalidInputError(
            f"The size of the pictures that `{type(model).__name__}` takes must be known, but its configuration has no "
            "`image_size`. Pass the folder of the model with its preprocessor_config.json, or set `config.image_size`."
        )
    return (getattr(model.config, "num_channels", 3), *size)


class PlainNetwork(nn.Module):
    """A copy of a model on the CPU, in float32, for evaluation. It maps its inputs in a row to a tuple of tensors."""

    def __init__(self, model: PreTrainedModel, inputs: ModelInputs) -> None:
        super().__init__()
        self.model, self.inputs = model, inputs
        returned = self._returned(inputs.batch(2, 2))
        self.outputs = tuple(name for name, value in returned.items() if isinstance(value, torch.Tensor))
        if not self.outputs:
            raise InvalidInputError(f"`{type(model).__name__}` must return a tensor, but returns {list(returned)}.")
        self.eval()

    @classmethod
    def of(cls, model: Any, folder: Path | None) -> PlainNetwork:
        if isinstance(model, Supernet):
            raise InvalidInputError(
                "A network must be given, but got a supernet. Pass `supernet.extract(architecture)`, trained further."
            )
        if not isinstance(model, PreTrainedModel):
            raise InvalidInputError(
                f"A model of transformers or searchhub must be given, but got a {type(model).__name__}."
            )
        own = copy.deepcopy(model).to(device="cpu", dtype=torch.float32).eval()
        if own.config._attn_implementation not in ("eager", "sdpa"):  # others need a GPU, or have no ONNX form
            own.set_attn_implementation("eager")
        return cls(own, ModelInputs.of(own, folder))

    @torch.inference_mode()
    def _returned(self, batch: Mapping[str, torch.Tensor]) -> Mapping[str, Any]:
        returned: Mapping[str, Any] = self.model(**batch, return_dict=True)
        return returned

    def forward(self, *values: torch.Tensor) -> tuple[torch.Tensor, ...]:
        returned = self.model(**dict(zip(self.inputs.names, values, strict=True)), return_dict=True)
        return tuple(returned[name] for name in self.outputs)
