import dataclasses

import pytest
import yaml
from huggingface_hub import ModelCard, parse_eval_result_entries

from searchhub.errors import InvalidInputError
from searchhub.hub.card import CardFacts, ComputeUsed, Evaluation, ReachedLimit, eval_results_yaml, model_card

SHA = "0123456789abcdef0123456789abcdef01234567"
TOKEN = "hf_canarycanarycanarycanary"

FACTS = CardFacts(
    model_name="macs-1.20M",
    model_class="SearchedMobileForImageClassification",
    architecture={"stage1.layer1": "mbconv_e3_k3", "stage1.layer2": "zero", "stage2.layer1": "mbconv_e6_k5"},
    processor_class="AutoImageProcessor",
    repo_id="someone/digits-1.2M",
    remote_code=True,
    tags=("mobile",),
    license="apache-2.0",
    dataset_id="someone/digits",
    dataset_name="handwritten digits",
    dataset_revision=SHA,
    num_labels=10,
    input_shape=(3, 16, 16),
    diagram="architecture.png",
    limits=(
        ReachedLimit(cost="macs", reached=1_198_000.0, maximum=1_200_000, unit="multiply-adds"),
        ReachedLimit(cost="latency_ms", reached=1.25, minimum=0.5, maximum=1.3),
    ),
    selection="exact optimum of E[α] (two-cost list-DP)",
    expectation=0.17012345,
    params=54_321,
    macs=1_198_000,
    evaluations=(Evaluation(metric="accuracy", value=0.9722222, split="test", num_examples=360),),
    comparison=(
        {"network": "this one", "accuracy": 0.9722222},
        {"network": "3 random architectures", "accuracy": 0.965},
    ),
    space_name="mobile",
    search_settings={"searcher": "DDPSearcher", "budget": {"epochs": 1, "max_steps": None}},
    search_cost=ComputeUsed(trials=81, seconds=93.4, device="cpu", processes=1),
    training_settings={"optimizer": "sgd", "stage_widths": [16, 24]},
    training_cost=ComputeUsed(epochs=15, seconds=21.0, device="cpu"),
    seed=0,
    versions={"python": "3.11.7", "torch": "2.13.0"},
    command=("python", "recipes/ddp_mobile.py", "--dataset", "someone/digits"),
    notes=("Digits saturate: do not compare by them.",),
)

GOLDEN = """\
---
datasets:
- someone/digits
library_name: transformers
license: apache-2.0
metrics:
- accuracy
pipeline_tag: image-classification
tags:
- searchhub
- neural-architecture-search
- mobile
model-index:
- name: macs-1.20M
  results:
  - task:
      type: image-classification
    dataset:
      name: handwritten digits
      type: someone/digits
      split: test
      revision: 0123456789abcdef0123456789abcdef01234567
    metrics:
    - type: accuracy
      value: 0.9722222
---

# macs-1.20M

`SearchedMobileForImageClassification`, found by neural architecture search with searchhub in the space `mobile` and \
trained on handwritten digits (10 classes).

Digits saturate: do not compare by them.

## How to use

```python
import searchhub  # makes the model known to transformers
from transformers import AutoImageProcessor, AutoModelForImageClassification

model = AutoModelForImageClassification.from_pretrained("someone/digits-1.2M")
processor = AutoImageProcessor.from_pretrained("someone/digits-1.2M")
```

Without searchhub, from the modeling files beside the weights. `trust_remote_code=True` runs those files: read them \
first, and pin a `revision`.

```python
from transformers import AutoImageProcessor, AutoModelForImageClassification

model = AutoModelForImageClassification.from_pretrained("someone/digits-1.2M", trust_remote_code=True)
processor = AutoImageProcessor.from_pretrained("someone/digits-1.2M")
```

## Architecture

| stage | layers |
| --- | --- |
| stage1 | `mbconv_e3_k3` · `zero` |
| stage2 | `mbconv_e6_k5` |

![Diagram of the architecture](architecture.png)

## Limits and sizes

| limit | reached | unit |
| --- | --- | --- |
| macs ≤ 1,200,000 (1.20M) | 1,198,000 (1.20M) | multiply-adds |
| 0.5 ≤ latency_ms ≤ 1.3 | 1.25 | – |

- Parameters: 54,321
- FLOPs (multiply-adds): 1,198,000 (1.20M)
- Input: 3 × 16 × 16
- Chosen by: exact optimum of E[α] (two-cost list-DP)
- E[α]: 0.170123 (DDPNAS Eq. 9)

## Results

| metric | value | split | examples |
| --- | ---: | --- | ---: |
| accuracy | 0.9722 | test | 360 |

Beside others, trained alike:

| network | accuracy |
| --- | ---: |
| this one | 0.9722 |
| 3 random architectures | 0.965 |

## Search

- `searcher`: DDPSearcher
- `budget.epochs`: 1
- `budget.max_steps`: None
- trials run: 81
- wall time: 1:33 (93 s)
- device: cpu
- processes: 1

## Training

- data: handwritten digits
- data revision: 0123456789abcdef0123456789abcdef01234567
- `optimizer`: sgd
- `stage_widths`: 16, 24
- epochs run: 15
- wall time: 0:21 (21 s)
- device: cpu

## Reproduce

```bash
python recipes/ddp_mobile.py --dataset someone/digits
```

- Seed: 0
- Versions: python 3.11.7, torch 2.13.0

## Citation

```bibtex
@article{zheng2023ddpnas,
  title={{DDPNAS}: Efficient Neural Architecture Search via Dynamic Distribution Pruning},
  author={Zheng, Xiawu and others},
  journal={International Journal of Computer Vision},
  year={2023},
  note={arXiv:1905.13543}
}
```
"""


def test_whole_card():
    assert model_card(FACTS) == GOLDEN


def test_metadata_reads_back():
    data = ModelCard(model_card(FACTS)).data
    (result,) = data.eval_results
    assert data.model_name == "macs-1.20M"
    assert data.datasets == ["someone/digits"]
    assert data.library_name == "transformers"
    assert (result.task_type, result.dataset_type, result.dataset_split) == (
        "image-classification",
        "someone/digits",
        "test",
    )
    assert (result.metric_type, result.metric_value) == ("accuracy", 0.9722222)


def test_what_is_not_known_is_left_out():
    text = model_card(CardFacts(model_name="m", model_class="C", architecture={}, papers=()))
    assert text == (
        "---\nlibrary_name: transformers\npipeline_tag: image-classification\ntags:\n- searchhub\n"
        "- neural-architecture-search\n---\n\n# m\n\n"
        "`C`, found by neural architecture search with searchhub.\n\n## How to use\n\n```python\n"
        "import searchhub  # makes the model known to transformers\n"
        "from transformers import AutoModelForImageClassification\n\n"
        'model = AutoModelForImageClassification.from_pretrained("path/to/m")\n```\n'
    )


def test_each_missing_fact_leaves_no_trace():
    for name in [f.name for f in dataclasses.fields(CardFacts) if f.default is not dataclasses.MISSING]:
        default = next(f.default for f in dataclasses.fields(CardFacts) if f.name == name)
        text = model_card(dataclasses.replace(FACTS, **{name: default}))
        assert ModelCard(text).data.library_name == "transformers", name
        assert text.count("None") == 1, name  # the search's `max_steps`, which was None


def test_local_data_are_no_data_set_of_the_hub():
    facts = dataclasses.replace(FACTS, dataset_id=None, dataset_name="/home/canary/birds", dataset_revision="abc")
    data = ModelCard(model_card(facts)).data
    assert data.datasets is None
    assert data.eval_results[0].dataset_type == "birds"
    assert data.eval_results[0].dataset_revision is None
    assert eval_results_yaml(facts) is None


def test_eval_results_file_reads_back():
    (entry,) = parse_eval_result_entries(yaml.safe_load(eval_results_yaml(FACTS)))
    assert (entry.dataset_id, entry.task_id, entry.value) == ("someone/digits", "default", 0.9722222)
    assert entry.dataset_revision == SHA
    assert entry.notes == "accuracy on test, 360 examples"


def test_nothing_private_gets_out():
    facts = dataclasses.replace(
        FACTS,
        model_name="/home/canary/models/m",
        dataset_id=None,
        dataset_name="/home/canary/data",
        base_model="/home/canary/checkpoints/base",
        space_name=f"space {TOKEN}",
        selection="table in /home/canary/table.json",
        comparison=({"network": "/home/canary/other", "accuracy": 0.5},),
        search_settings={"data_dir": "/home/canary/data", "nested": {"paths": ["/home/canary/a", TOKEN]}},
        training_settings={"hub_token": "canary-of-another-form", "log": f"~/canary/{TOKEN}"},
        search_cost=ComputeUsed(device="/dev/canary/gpu0"),
        command=["/home/canary/venv/bin/python", "x.py", "--data=/home/canary/my data", "--token", "canary", TOKEN],
        versions={"torch": TOKEN},
        tags=(TOKEN,),
        notes=(f"see /home/canary/notes.txt with {TOKEN}",),
    )
    text = model_card(facts)
    assert "canary" not in text
    assert "python x.py '--data=my data' --token REDACTED REDACTED" in text
    ModelCard(text)


def test_architectures_of_other_shapes():
    flat = dataclasses.replace(FACTS, architecture={"depth": 4, "heads.0": 12}, diagram=None)
    assert "| choice | candidate |\n| --- | --- |\n| depth | `4` |\n| heads.0 | `12` |" in model_card(flat)


@pytest.mark.parametrize(
    ("limit", "words"),
    [
        ({"maximum": 250_000}, "macs ≤ 250,000 (250.0K)"),
        ({"minimum": 10}, "10 ≤ macs"),
        ({"equal": 3}, "macs = 3"),
        ({"maximum": 1.5}, "macs ≤ 1.5"),
    ],
)
def test_limits_in_words(limit, words):
    facts = dataclasses.replace(FACTS, limits=(ReachedLimit(cost="macs", reached=3, **limit),))
    assert f"| {words} | 3 | – |" in model_card(facts)


def test_wrong_facts():
    with pytest.raises(InvalidInputError, match=r"must be among \['dcnas', 'ddpnas', 'deeplabv3'\].*'unheard'"):
        dataclasses.replace(FACTS, papers=("unheard",))
    with pytest.raises(InvalidInputError, match="must be a list of words"):
        dataclasses.replace(FACTS, command="python x.py")
