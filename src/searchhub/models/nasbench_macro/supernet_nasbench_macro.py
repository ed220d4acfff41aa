"""The supernet of NAS-Bench-Macro, which holds every candidate block of every layer."""

from __future__ import annotations

from huggingface_hub.dataclasses import strict
from torch import nn

from searchhub.models.layered import LayeredSupernet
from searchhub.models.nasbench_macro.configuration_nasbench_macro import SearchedNasBenchMacroConfig
from searchhub.models.nasbench_macro.modeling_nasbench_macro import (
    SearchedNasBenchMacroConvLayer,
    SearchedNasBenchMacroForImageClassification,
    SearchedNasBenchMacroPreTrainedModel,
    build_layer,
)
from searchhub.space import SearchSpace
from searchhub.spaces.nasbench_macro import nasbench_macro_space

PAPER = """@inproceedings{su2021prioritized,
  title={Prioritized Architecture Sampling with {Monto-Carlo} Tree Search},
  author={Su, Xiu and Huang, Tao and Li, Yanxi and You, Shan and Wang, Fei and Qian, Chen and Zhang, Changshui and
    Xu, Chang},
  booktitle={Conference on Computer Vision and Pattern Recognition},
  year={2021}
}"""


@strict
class NasBenchMacroSupernetConfig(SearchedNasBenchMacroConfig):
    r"""
    Configuration of the supernet: the sizes of `SearchedNasBenchMacroConfig`. The space is the same at every width.

    Args:
        groups: Whether a search keeps identity and one of the blocks in every layer.
    """

    model_type = "nasbench_macro_supernet"

    groups: bool = False

    def space(self) -> SearchSpace:
        """Returns the search space of these stages."""
        return nasbench_macro_space(stage_depths=self.stage_depths, groups=self.groups)


class NasBenchMacroSupernetForImageClassification(LayeredSupernet, SearchedNasBenchMacroPreTrainedModel):
    """The weights of every candidate block of every layer. All architectures share stem, head and classifier.

    Args:
        config: Sizes.
    """

    config: NasBenchMacroSupernetConfig
    config_class = NasBenchMacroSupernetConfig
    subnet_class = SearchedNasBenchMacroForImageClassification
    papers = ("ddpnas", PAPER)

    def __init__(self, config: NasBenchMacroSupernetConfig) -> None:
        super().__init__(config)
        self.stem = SearchedNasBenchMacroConvLayer(
            config, config.num_channels, config.stem_width, 3, config.stem_stride
        )
        self.layers = nn.ModuleList(
            nn.ModuleDict({c: build_layer(config, c, *shape) for c in choice.candidates})
            for choice, shape in zip(self.search_space.choices, config.layer_shapes, strict=True)
        )
        self.head = SearchedNasBenchMacroConvLayer(config, config.stage_widths[-1], config.head_width)
        self.classifier = nn.Linear(config.head_width, config.num_labels)
        self.post_init()
