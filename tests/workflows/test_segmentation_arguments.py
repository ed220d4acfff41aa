"""Which network the segmentation recipe puts under the head, and where its weights come from."""

import pytest
import torch

from searchhub import (
    SearchedDartsConfig,
    SearchedDartsForImageClassification,
    SearchedMobileConfig,
    SearchedMobileForImageClassification,
)
from searchhub.errors import InvalidInputError
from searchhub.models.identity import weights_digest
from searchhub.workflows.cell_arguments import CellArguments
from searchhub.workflows.mobile_arguments import MobileArguments
from searchhub.workflows.segmentation_arguments import SegmentationNetworkArguments, SegmentationTrainingArguments

from ..training.tiny_segmentation import tiny_task

MOBILE = {
    "stem_width": 8,
    "first_width": 8,
    "stage_widths": [8, 16],
    "stage_depths": [1, 2],
    "stage_strides": [2, 2],
    "head_width": 16,
    "blocks": ["mbconv_e3_k3", "mbconv_e6_k5", "zero"],
}
CELLS = {"stem": "imagenet", "width": 8, "num_cells": 3, "num_nodes": 2}
CELL = "[('sep_conv_3x3', 0), ('sep_conv_3x3', 1)]"
GENOTYPE = f"Genotype(normal={CELL}, normal_concat=[2], reduce={CELL}, reduce_concat=[2])"


def save(kind, config, folder):
    torch.manual_seed(7)
    model = kind(config)
    model.save_pretrained(folder)
    return model, folder


@pytest.fixture(scope="module")
def mobile(tmp_path_factory):
    """A trained classifier, and its folder."""
    config = SearchedMobileConfig(**MOBILE, num_labels=5, image_size=8)
    return save(SearchedMobileForImageClassification, config, tmp_path_factory.mktemp("mobile"))


@pytest.fixture(scope="module")
def cells(tmp_path_factory):
    config = SearchedDartsConfig(**CELLS, num_labels=5, image_size=32)
    return save(SearchedDartsForImageClassification, config, tmp_path_factory.mktemp("cells"))


@pytest.fixture(scope="module")
def task():
    return tiny_task()


def made(task, **options):
    """The supernet of these settings, and the network that is put under the head."""
    form = SegmentationNetworkArguments(aspp_width=8, **options)
    supernet = form.supernet(task, MobileArguments(stem_width=16), CellArguments(num_nodes=2), 0)
    return supernet, supernet.extract(form.transferred(supernet))


@pytest.mark.parametrize("family", ["mobile", "darts"])
def test_the_trunks_weights_are_those_of_the_classifier(family, task, request):
    classifier, folder = request.getfixturevalue({"mobile": "mobile", "darts": "cells"}[family])
    supernet, network = made(task, family=family, transfer=str(folder))
    assert supernet.final is supernet, "in the classifier's own sizes"
    trunk = network.base_model.features
    assert set(dict(trunk.named_parameters())) == set(dict(classifier.base_model.features.named_parameters()))
    for name, weights in classifier.base_model.features.named_parameters():
        assert torch.equal(trunk.get_parameter(name), weights), name
    # Networks that start elsewhere do not count as trained alike.
    other, _ = made(task, family=family, transfer=str(folder), transfer_weights=False)
    assert weights_digest(other) != weights_digest(supernet)
    assert weights_digest(made(task, family=family, transfer=str(folder))[0]) == weights_digest(supernet)


def test_an_architecture_alone_starts_from_the_seed(task, mobile):
    classifier, folder = mobile
    form = SegmentationNetworkArguments(transfer=str(folder), transfer_weights=False)
    assert (form.takes_weights, form.provenance()) == (False, {})
    assert form.words().endswith("under the head, from scratch")
    supernet, network = made(task, transfer=str(folder), transfer_weights=False)
    assert network.config.blocks == MOBILE["blocks"]
    assert not torch.equal(supernet.stem.convolution.weight, classifier.mobile.features.stem.convolution.weight)


def test_cards_tell_where_weights_come_from(mobile, monkeypatch):
    _, folder = mobile
    start = f"weights of {folder}, under a new head"
    assert SegmentationNetworkArguments(transfer=str(folder)).provenance() == {"start": start}
    monkeypatch.setattr("searchhub.workflows.segmentation_arguments.find_folder", lambda name: folder)
    told = SegmentationNetworkArguments(transfer="owner/name").provenance()
    assert told == {"start": "weights of owner/name, under a new head", "base_model": "owner/name"}


def test_a_genotype_has_no_weights():
    form = SegmentationNetworkArguments(family="darts", transfer=GENOTYPE)
    assert not form.takes_weights
    assert "its cells alone" in form.words()
    with pytest.raises(InvalidInputError, match="needs the folder or Hub id of a trained network"):
        _ = SegmentationNetworkArguments(family="darts", transfer=GENOTYPE, transfer_weights=True).takes_weights


def test_weights_that_do_not_fit_are_refused(task, mobile, cells, tmp_path):
    with pytest.raises(
        InvalidInputError, match=r"must name a searched network of `--family mobile`, but .* searched_darts"
    ):
        made(task, transfer=str(cells[1]))
    with pytest.raises(
        InvalidInputError, match=r"must name a searched network of `--family darts`, but .* searched_mob"
    ):
        made(task, family="darts", transfer=str(mobile[1]))
    grey = SearchedMobileConfig(**MOBILE, num_labels=5, num_channels=1)
    _, folder = save(SearchedMobileForImageClassification, grey, tmp_path)
    with pytest.raises(
        InvalidInputError, match=r"lacks \['mobile.features.stem.convolution.weight'\], or has them in other"
    ):
        made(task, transfer=str(folder))


def test_networks_do_not_start_from_two_places(mobile):
    with pytest.raises(InvalidInputError, match="`--transfer_weights` is of a network that `--transfer` names"):
        SegmentationNetworkArguments(transfer_weights=True)
    training = SegmentationTrainingArguments(inherit_weights=True)
    SegmentationNetworkArguments().check(training)
    with pytest.raises(InvalidInputError, match="`--inherit_weights` is of a search's weights"):
        SegmentationNetworkArguments(transfer=str(mobile[1])).check(training)


def test_an_auxiliary_head_is_of_the_final_training():
    training = SegmentationTrainingArguments(auxiliary_weight=0.4)
    assert (training.final_settings().auxiliary_weight, training.search_settings().auxiliary_weight) == (0.4, 0.0)
    assert "auxiliary_weight" not in SegmentationTrainingArguments().final_settings().to_dict()
