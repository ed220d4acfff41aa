"""Configuration of a plain network with layers of searched widths. Self-contained: it travels to the Hub beside its
modeling file.
"""

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig


@strict
class SearchedChannelCnnConfig(PreTrainedConfig):
    r"""
    One network of the channel-ratio space of DC-NAS: 3x3 convolutions, max-pooling after some of them, and a
    classifier on the flattened last feature map. The defaults are the base network (ratio 1 everywhere) at 32 x 32;
    the paper does not print it, and these widths reproduce the parameters and multiply-adds of its Table 2.

    Args:
        num_channels: Channels of a picture.
        image_size: Height and width of a picture; the classifier fits no other.
        channels: Output channels of each convolution.
        pool_after: After which layers, counted from 1, max-pooling halves height and width.
        batch_norm_eps: Added to the variance.
        batch_norm_momentum: Weight of the newest batch in the running statistics.
        classifier_dropout: Dropout before the classifier, in [0, 1).
    """

    model_type = "searched_channel_cnn"

    num_channels: int = 3
    image_size: int = 32
    channels: list[int] | tuple[int, ...] = (32, 64, 128, 256, 512, 512)
    pool_after: list[int] | tuple[int, ...] = (2, 4, 6)
    batch_norm_eps: float = 1e-5
    batch_norm_momentum: float = 0.1
    classifier_dropout: float | int = 0.0

    def __post_init__(self, **kwargs):
        self.channels, self.pool_after = list(self.channels), list(self.pool_after)
        super().__post_init__(**kwargs)

    @property
    def last_size(self) -> int:
        """Height and width of the last feature map."""
        return self.image_size // 2 ** len(self.pool_after)

    def validate_layers(self):
        """Part of the `@strict` validation: layers that can be built, and a picture that is left of the pooling."""
        if not self.channels or min(self.channels) < 1:
            raise ValueError(f"`channels` must hold a number of at least 1 for each layer, but is {self.channels}.")
        if sorted(set(self.pool_after)) != self.pool_after or not set(self.pool_after) <= set(
            range(1, len(self.channels) + 1)
        ):
            raise ValueError(
                f"`pool_after` must hold layers from 1 to {len(self.channels)} in increasing order, but is "
                f"{self.pool_after}."
            )
        if self.last_size < 1:
            raise ValueError(
                f"`image_size >= {2 ** len(self.pool_after)}` must hold to be halved {len(self.pool_after)} times, "
                f"but it is {self.image_size}."
            )


__all__ = ["SearchedChannelCnnConfig"]
