"""The Hub-ready folder of a model in memory, with a card of what the model itself says."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel
from transformers.initialization import no_init_weights

from searchhub.costs.macs import count_macs
from searchhub.errors import InvalidInputError
from searchhub.hub.card import CardFacts, model_card
from searchhub.hub.contents import MODEL_CONFIG, contents_of
from searchhub.hub.folder import auto_classes_of, is_stock, save_model_folder
from searchhub.models.pictures import height_and_width

_TASKS = {
    "AutoModelForImageClassification": "image-classification",
    "AutoModelForSemanticSegmentation": "image-segmentation",
    "AutoModelForSequenceClassification": "text-classification",
}
"""Auto classes of networks that tell classes apart, and the Hub's names of what they do."""

_UNKNOWN = (
    "This card was written from the model alone. It does not know how the model was found and trained, nor what it "
    "reaches."
)


def save_bare_model(model: PreTrainedModel, folder: Path, name: str) -> None:
    """Writes the folder of a model of which nothing is known but itself: weights, code and card, no measured numbers.

    Args:
        model: A model of a searchhub family, of a class that an Auto class loads.
        folder: The folder to write into.
        name: What the card calls it.

    Raises:
        InvalidInputError: The model is of another class.
    """
    if is_stock(model):
        raise InvalidInputError(
            f"A model of a searchhub family must be given to be published, but got a {type(model).__name__} of "
            "transformers. Write it to a folder with `save_model_folder` and a card of yours, and publish that."
        )
    save_model_folder(model, folder, card=model_card(_card_facts(model, name)))


def _card_facts(model: PreTrainedModel, name: str) -> CardFacts:
    kind, config = type(model).__name__, model.config
    paths = auto_classes_of(model)
    auto_class = next((auto for auto, path in paths.items() if path.partition(".")[2] == kind), None)
    if auto_class is None:
        raise InvalidInputError(
            f"A model must be of a class that an Auto class loads to be published, but is a {kind}. Publish one of "
            f"{', '.join(sorted(set(paths.values())))}, or name the class in the `AUTO_CLASSES` of its family."
        )
    task, picture = _TASKS.get(auto_class), _picture(model)
    return CardFacts(
        model_name=name,
        model_class=kind,
        architecture={},
        configuration=_what_it_is(config),
        origin="a network of a search space, pushed with searchhub",
        auto_class=auto_class,
        remote_code=True,
        pipeline_tag=task,
        num_labels=config.num_labels if task and config.num_labels > 1 else None,  # one label is a regression
        input_shape=picture,
        params=sum(p.numel() for p in model.parameters()),
        macs=None if picture is None else _count_macs(model, picture),
        papers=(),
        notes=(_UNKNOWN,),
    )


def _what_it_is(config: Any) -> Mapping[str, Any]:
    """Blocks and sizes that a configuration sets: what `publish` compares before it pushes."""
    contents = contents_of({MODEL_CONFIG: config.to_diff_dict()}.get)
    identity = {} if contents is None else dict(contents.identity)
    elsewhere = ("model_type", "num_labels")  # the card says it in other words
    return {name: value for name, value in identity.items() if value is not None and name not in elsewhere}


def _picture(model: PreTrainedModel) -> tuple[int, int, int] | None:
    """(channels, height, width) of the pictures that a model takes; None: it takes others, or any size."""
    channels, size = (getattr(model.config, name, None) for name in ("num_channels", "image_size"))
    size = height_and_width(size)
    if model.main_input_name != "pixel_values" or not isinstance(channels, int) or size is None:
        return None
    return channels, *size


def _count_macs(model: PreTrainedModel, picture: tuple[int, int, int]) -> int:
    with torch.device("meta"), no_init_weights():
        empty = type(model)(copy.deepcopy(model.config)).eval()
        return count_macs(empty, {"pixel_values": torch.empty(1, *picture)})
