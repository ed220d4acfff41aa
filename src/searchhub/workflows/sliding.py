"""Lets a segmentation network see a picture through windows, as where pictures are larger than what it trained on."""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional
from transformers.modeling_outputs import SemanticSegmenterOutput

from searchhub.errors import InvalidInputError


class SlidingWindows(nn.Module):
    """A segmentation network that sees one part of a picture at a time.

    Logits of each part are resized to it, bilinearly, and averaged where parts overlap, so that they are as large as
    the picture. A picture that is not larger than a window goes through the network as it is.

    Args:
        model: The network.
        size: Height and width of a window, at least 1. A picture may be lower or narrower.
        overlap: Share of a window that the next one covers too, at least 0 and below 1; more where the last window
            would reach beyond the edge.

    Raises:
        InvalidInputError: The size or the overlap is out of its bounds.
    """

    def __init__(self, model: nn.Module, size: tuple[int, int], overlap: float = 0.25) -> None:
        super().__init__()
        if len(size) != 2 or min(size) < 1:
            raise InvalidInputError(f"`--window` must be a height and a width of at least 1, but is {list(size)}.")
        if not 0 <= overlap < 1:
            raise InvalidInputError(f"`--overlap` must be a share of a window, 0 <= share < 1, but is {overlap}.")
        self.model = model
        self.size = (int(size[0]), int(size[1]))
        self.overlap = overlap

    def forward(self, pixel_values: torch.Tensor) -> SemanticSegmenterOutput:
        """Returns logits [n, labels, height, width] of pictures [n, channels, height, width]."""
        tops, lefts = (
            window_starts(whole, own, self.overlap)
            for whole, own in zip(pixel_values.shape[-2:], self.size, strict=True)
        )
        if len(tops) == len(lefts) == 1:
            return SemanticSegmenterOutput(logits=self.model(pixel_values=pixel_values).logits)
        total, seen = None, pixel_values.new_zeros(pixel_values.shape[-2:], dtype=torch.float32)
        for top in tops:
            for left in lefts:
                place = (..., slice(top, top + self.size[0]), slice(left, left + self.size[1]))
                part = pixel_values[place]
                logits = self.model(pixel_values=part).logits.float()
                logits = functional.interpolate(logits, part.shape[-2:], mode="bilinear", align_corners=False)
                if total is None:
                    total = logits.new_zeros(*logits.shape[:2], *pixel_values.shape[-2:])
                total[place] += logits
                seen[place] += 1
        assert total is not None
        return SemanticSegmenterOutput(logits=total / seen)


def window_starts(length: int, window: int, overlap: float) -> list[int]:
    """Returns where windows start along one direction, the last one so that it ends at the edge.

    >>> window_starts(10, 4, 0.5), window_starts(10, 4, 0.0), window_starts(10, 12, 0.0)
    ([0, 2, 4, 6], [0, 4, 6], [0])
    """
    if window >= length:
        return [0]
    step = max(1, round(window * (1 - overlap)))
    return [min(i * step, length - window) for i in range(math.ceil((length - window) / step) + 1)]
