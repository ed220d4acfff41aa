"""What only networks of cells have in training: an auxiliary head and drop-path."""

import pytest
import torch
from accelerate import Accelerator
from torch.nn import functional

from searchhub.errors import InvalidInputError
from searchhub.models.darts.configuration_darts import SearchedDartsConfig
from searchhub.models.darts.modeling_darts import SearchedDartsForImageClassification
from searchhub.training.fit import fit
from searchhub.training.loop import _loss
from searchhub.training.settings import TrainingSettings

from .tiny import TinyTask, tiny_supernet

# On processors without AVX-512, oneDNN writes outside of its memory in the backward pass of strided 1x1 convolutions of
# fewer than eight input channels (torch 2.13).
SIZES = {"num_labels": 4, "width": 8, "num_cells": 2, "num_nodes": 1, "stem_multiplier": 1}


class LargerTask(TinyTask):
    """Pictures of 32 x 32: on the smallest maps the auxiliary head pools 5 x 5."""

    def batch(self, split, indices, *, device, seed=None):
        batch = super().batch(split, indices, device=device, seed=seed)
        return {**batch, "pixel_values": functional.interpolate(batch["pixel_values"], scale_factor=4)}


def network(**changes):
    torch.manual_seed(0)
    return SearchedDartsForImageClassification(SearchedDartsConfig(**{**SIZES, **changes}))


def test_the_auxiliary_loss_is_added_with_its_weight_and_smoothing():
    model = network()
    torch.manual_seed(1)
    model.attach_auxiliary_head()
    # What the head normalizes are single pixels, so the statistics need several examples.
    batch = LargerTask().batch("train", torch.arange(8), device=torch.device("cpu"))
    for smoothing in (0.0, 0.1):
        settings = TrainingSettings(auxiliary_weight=0.4, label_smoothing=smoothing)
        output = model(**batch)
        main, auxiliary = (
            functional.cross_entropy(logits, batch["labels"], label_smoothing=smoothing)
            for logits in (output.logits, output.auxiliary_logits)
        )
        torch.testing.assert_close(_loss(model, batch, settings), main + 0.4 * auxiliary)


def test_a_training_ends_with_the_network_alone():
    task, model = LargerTask(sizes=(16, 8, 8)), network()
    names = list(model.state_dict())
    settings = TrainingSettings(batch_size=12, auxiliary_weight=0.4)
    with_head = fit(model, task, settings, Accelerator(), epochs=1, seed=0)
    assert list(model.state_dict()) == names
    without = fit(network(), task, TrainingSettings(batch_size=12), Accelerator(), epochs=1, seed=0)
    assert with_head.loss > without.loss + 0.2  # of four classes: 0.4 of about 1.4 more
    again = network()
    fit(again, task, settings, Accelerator(), epochs=1, seed=0)
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), again.state_dict().values(), strict=True))


def test_drop_path_rises_epoch_by_epoch():
    model = network(image_size=8)
    seen = []
    settings = TrainingSettings(batch_size=16, drop_path=0.4)
    fit(
        model,
        TinyTask(sizes=(16, 8, 8)),
        settings,
        Accelerator(),
        epochs=4,
        seed=0,
        on_epoch=lambda m: seen.append(m.darts.features.cells[0].drop_path),
    )
    assert seen == pytest.approx([0.0, 0.1, 0.2, 0.3])
    # Whoever trains it further decides anew.
    assert {cell.drop_path for cell in model.darts.features.cells} == {0.0}


@pytest.mark.parametrize(
    ("settings", "message"), [({"auxiliary_weight": 0.4}, "auxiliary_weight"), ({"drop_path": 0.2}, "drop_path")]
)
def test_other_networks_have_neither(settings, message):
    supernet = tiny_supernet()
    model = supernet.extract(supernet.search_space.decode([0] * 3))
    with pytest.raises(InvalidInputError, match=f"`{message}` must be 0"):
        fit(model, TinyTask(), TrainingSettings(batch_size=16, **settings), Accelerator(), epochs=1, seed=0)


@pytest.mark.parametrize("wrong", [{"auxiliary_weight": -1.0}, {"drop_path": 1.0}, {"drop_path": -0.1}])
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(InvalidInputError, match="drop_path"):
        TrainingSettings(**wrong)


def test_settings_that_are_not_used_are_not_written():
    """Runs and networks from before they were there stay the same."""
    assert not {"auxiliary_weight", "drop_path"} & set(TrainingSettings().to_dict())
    settings = TrainingSettings(auxiliary_weight=0.4, drop_path=0.2)
    assert TrainingSettings(**settings.to_dict()) == settings
