import io
import math

import numpy as np
import pytest
from PIL import Image

from searchhub.errors import InvalidInputError
from searchhub.library import single_changes
from searchhub.spaces.bert import bert_space, full_width
from searchhub.visualization.library import _panels, plot_library

SPACE = bert_space(3, 8, 2, depths=[2, 3], intermediate_sizes=[2, 8], num_heads=[1, 2])
WHOLE = full_width(SPACE)[0]
SCORES = {a: math.exp(-0.1 * i) for i, a in enumerate(single_changes(SPACE, WHOLE))}


def test_each_change_stands_in_its_layer_and_column():
    panels = _panels(WHOLE, SCORES)
    assert {kind: (rows, columns) for kind, (rows, columns, _) in panels.items()} == {
        "depth": ([""], [2, 3]),
        "intermediate_size": (["layer0", "layer1", "layer2"], [2, 8]),
        "num_attention_heads": (["layer0", "layer1", "layer2"], [1, 2]),
    }
    np.testing.assert_allclose(panels["depth"][2], [[0.1, 0.0]])
    np.testing.assert_allclose(panels["intermediate_size"][2], [[0.2, 0.0], [0.4, 0.0], [0.6, 0.0]])
    np.testing.assert_allclose(panels["num_attention_heads"][2], [[0.3, 0.0], [0.5, 0.0], [0.7, 0.0]])


def test_the_picture_is_drawn(tmp_path):
    plot_library(WHOLE, SCORES, tmp_path / "library.png")
    drawn = io.BytesIO()
    plot_library(WHOLE, SCORES, drawn)
    assert Image.open(tmp_path / "library.png").size == Image.open(drawn).size
    with pytest.raises(InvalidInputError, match="must hold the whole architecture's"):
        plot_library(WHOLE, {}, drawn)
