import datasets
import pytest
import torch
from accelerate import debug_launcher
from accelerate.state import AcceleratorState
from transformers import BertConfig, BertForSequenceClassification

from searchhub.data.text import TextTask
from searchhub.errors import InvalidInputError
from searchhub.training.accelerator import make_accelerator
from searchhub.training.batches import evaluation_batches, training_batches
from searchhub.training.loop import outputs
from searchhub.training.settings import TrainingSettings

from .tiny_text import text, tiny_tokenizer

CPU = torch.device("cpu")
SPLITS = ("train", "validation", "test")


def split(n, start=0, **changes):
    columns = {
        "first": [text(i) for i in range(start, start + n)],
        "second": [text(3 * i + 1) for i in range(start, start + n)],
        "label": [i % 2 for i in range(start, start + n)],
    }
    return datasets.Dataset.from_dict({**columns, **changes})


def task_of(splits=None, sizes=(40, 13, 11), **options):
    splits = splits or dict(zip(SPLITS, map(split, sizes), strict=True))
    options = {"text_columns": ["first"], "label_names": ["no", "yes"], **options}
    tokenizer = options.pop("tokenizer", None) or tiny_tokenizer()
    return TextTask("tiny", splits, tokenizer, label_column="label", **options)


def whole(task, name):
    return task.batch(name, torch.arange(task.size(name)), device=CPU)


# -- batches ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("columns", [["first"], ["first", "second"]])
def test_batches_are_what_the_tokenizer_makes(columns):
    data, tokenizer = split(40), tiny_tokenizer()
    rows = torch.tensor([5, 0, 33, 5])
    batch = task_of(text_columns=columns).batch("train", rows, device=CPU)
    expected = tokenizer(*([data[c][i] for i in rows.tolist()] for c in columns), padding=True, return_tensors="pt")
    assert batch.keys() == {"input_ids", "attention_mask", "token_type_ids", "labels"}
    for name in expected:
        torch.testing.assert_close(batch[name], expected[name], rtol=0, atol=0)
    assert batch["labels"].tolist() == [1, 0, 1, 1]
    assert batch["labels"].dtype == torch.int64


def test_no_token_types_where_the_tokenizer_makes_none():
    tokenizer = tiny_tokenizer()
    tokenizer.model_input_names = ["input_ids", "attention_mask"]
    assert whole(task_of(tokenizer=tokenizer), "train").keys() == {"input_ids", "attention_mask", "labels"}


def test_pairs_are_cut_at_the_longer_text():
    data = split(2, first=["a b c d e f", "a b"], second=["b", "a b c d e f"])
    task = task_of(dict.fromkeys(SPLITS, data), text_columns=["first", "second"], max_length=7)
    tokenizer = task.processor()
    assert tokenizer.batch_decode(whole(task, "train")["input_ids"]) == [
        "[CLS] a b c [SEP] b [SEP]",
        "[CLS] a b [SEP] a b [SEP]",
    ]


def test_lengths_in_multiples():
    batch = task_of(pad_to_multiple_of=8).batch("train", torch.tensor([6]), device=CPU)
    assert batch["input_ids"].shape == (1, 16)  # seven words and two special tokens
    assert batch["attention_mask"].sum() == 9
    assert batch["input_ids"][0, 9:].tolist() == [0] * 7


def test_evaluation_goes_from_long_to_short_and_loses_nothing():
    task = task_of()
    for name, n in (("validation", 13), ("test", 11)):
        assert task.lengths(name).tolist() == sorted(task.lengths(name).tolist(), reverse=True)
        inputs = whole(task, name)
        texts = task.processor().batch_decode(inputs["input_ids"], skip_special_tokens=True)
        assert sorted(zip(texts, inputs["labels"].tolist(), strict=True)) == sorted((text(i), i % 2) for i in range(n))


def test_full_is_train_and_validation():
    task = task_of()
    assert task.size("full") == 53
    for rows, part in ((torch.arange(40), "train"), (torch.arange(40, 53), "validation")):
        full = task.batch("full", rows, device=CPU)
        for name, expected in whole(task, part).items():
            torch.testing.assert_close(
                full[name][:, : expected.shape[1]] if expected.dim() > 1 else full[name], expected
            )


def test_the_tokenizer_is_published_as_it_was_given():
    tokenizer = tiny_tokenizer()
    before = tokenizer.backend_tokenizer.to_str()
    task = task_of(tokenizer=tokenizer, max_length=5)
    assert task.processor() is tokenizer
    assert tokenizer.backend_tokenizer.to_str() == before


# -- order ------------------------------------------------------------------------------------------------------------


def test_an_epoch_sees_each_example_once():
    task = task_of(sizes=(403, 13, 11))
    order = task.order("train", batch_size=4, seed=3)
    assert order.sort().values.tolist() == list(range(403))
    assert torch.equal(order, task.order("train", batch_size=4, seed=3))
    assert not torch.equal(order, task.order("train", batch_size=4, seed=4))
    torch.manual_seed(0)
    assert torch.equal(order, task.order("train", batch_size=4, seed=3))


def test_batches_are_of_one_length_and_in_random_order():
    task = task_of(sizes=(420, 13, 11))
    lengths = task.lengths("train")[task.order("train", batch_size=4, seed=0)].view(-1, 4)
    # 420 texts of 7 lengths in 3 groups of at most 50 batches: at most 6 batches a group have more than one length.
    assert (lengths.max(1).values != lengths.min(1).values).sum() <= 18
    longest = lengths.max(1).values.float()
    assert (longest.diff() < 0).sum() > 20
    assert (longest.diff() > 0).sum() > 20


def test_which_examples_a_ragged_end_leaves_out_is_random():
    task = task_of(sizes=(42, 13, 11))
    left_out = {i for seed in range(20) for i in task.order("train", batch_size=8, seed=seed)[40:].tolist()}
    assert len(left_out) > 10


def test_a_split_smaller_than_a_batch_has_an_order_too():
    assert task_of().order("test", batch_size=64, seed=0).sort().values.tolist() == list(range(11))


# -- training and evaluation on any number of processes ---------------------------------------------------------------


def tiny_bert(num_labels=2):
    torch.manual_seed(0)
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    return BertForSequenceClassification(
        BertConfig(vocab_size=32, num_labels=num_labels, initializer_range=1.0, **sizes)
    ).eval()


def on_a_process(expected):
    torch.set_num_threads(1)
    AcceleratorState._reset_state(True)  # of the process that this one was forked from
    accelerator, task = make_accelerator(), task_of()
    rank, ranks = accelerator.process_index, accelerator.num_processes
    assert ranks == 2
    # 13 examples: shares of 6 and 7, in batches of at most 4.
    assert [len(b["labels"]) for b in evaluation_batches(task, "validation", 4, accelerator)] == [[4, 2], [4, 3]][rank]
    logits, references = outputs(tiny_bert(), task, "validation", 4, accelerator)
    torch.testing.assert_close(logits, expected["logits"])
    assert torch.equal(references, expected["references"])
    batches = training_batches(task, "train", TrainingSettings(batch_size=8), accelerator, 5)
    shares = [part["input_ids"] for (part,) in batches]
    for share, joined in zip(shares, expected["batches"], strict=True):
        half = joined[4 * rank : 4 * rank + 4]
        assert torch.equal(share, half[:, : share.shape[1]])
        assert not half[:, share.shape[1] :].any()


def test_two_processes_see_what_one_sees(fresh_accelerate_state):
    accelerator, task = make_accelerator(), task_of()
    logits, references = outputs(tiny_bert(), task, "validation", 4, accelerator)
    assert logits.std(0).min() > 0.1  # or equality says little
    batches = training_batches(task, "train", TrainingSettings(batch_size=8), accelerator, 5)
    expected = {
        "logits": logits,
        "references": references,
        "batches": [part["input_ids"] for (part,) in batches],
    }
    assert len(expected["batches"]) == 5
    debug_launcher(on_a_process, (expected,), num_processes=2)


def test_a_score_to_predict():
    splits = {name: split(n, label=[i / 4 for i in range(n)]) for name, n in zip(SPLITS, (8, 4, 4), strict=True)}
    task = task_of(splits, regression=True, label_names=["score"])
    assert task.num_labels == 1
    batch = whole(task, "train")
    assert batch["labels"].dtype == torch.float32
    assert torch.isfinite(tiny_bert(num_labels=1)(**batch).loss)
    logits = torch.tensor([[0.5], [-2.0]], dtype=torch.bfloat16)
    assert task.predictions(logits).tolist() == [0.5, -2.0]
    assert task_of().predictions(torch.tensor([[0.5, 1.0], [0.0, -1.0]])).tolist() == [1, 0]


def test_score():
    assert task_of().score(torch.tensor([0, 1, 1, 0]), torch.tensor([0, 1, 0, 0])) == {"accuracy": 0.75}


# -- fingerprint ------------------------------------------------------------------------------------------------------


def test_fingerprint_changes_with_everything_that_counts():
    tokenizer = tiny_tokenizer()
    other_words = tiny_tokenizer()
    other_words.add_tokens(["new"])
    same = task_of(tokenizer=tokenizer).fingerprint()
    tokenizer(["a b c"], truncation=True, max_length=4, padding="max_length")  # which the tokenizer remembers
    assert task_of(tokenizer=tokenizer).fingerprint() == same
    for part in SPLITS:
        made = {name: split(n) for name, n in zip(SPLITS, (40, 13, 11), strict=True)}
        label = [0, 0, *made[part]["label"][2:]]
        beyond = [*made[part]["first"][:6], made[part]["first"][6] + " b", *made[part]["first"][7:]]
        assert task_of({**made, part: split(len(label), label=label)}).fingerprint() != same
        cut = task_of({**made, part: split(len(label), first=beyond)}, max_length=5)
        assert torch.equal(whole(cut, part)["input_ids"], whole(task_of(made, max_length=5), part)["input_ids"])
        assert cut.fingerprint() != task_of(made, max_length=5).fingerprint()
    assert task_of(max_length=64).fingerprint() != same
    assert task_of(max_length=5).fingerprint() != same
    assert task_of(tokenizer=other_words).fingerprint() != same
    assert task_of(label_names=["yes", "no"]).fingerprint() != same
    assert task_of(text_columns=["first", "second"]).fingerprint() != same


# -- bad input --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"first": ["a", None, "b", "c"]},
            "Every `first` of the split `test` of `tiny` must be a text, but number 1 is",
        ),
        ({"first": [1, 2, 3, 4]}, "Every `first` .* must be a text, but number 0 is 1"),
        ({"label": [0, 1, 2, 0]}, "Labels of the split `test` of `tiny` must be 0 … 1, but span 0 … 2"),
        ({"label": [0, None, 1, 0]}, "Every label of the split `test` .* must be an integer, but number 1 is None"),
        ({"label": ["no", "yes", "no", "no"]}, "Every label .* must be an integer, but number 0 is 'no'"),
        ({"label": [0.5, 1.0, 0.0, 0.0]}, "Every label .* must be an integer, but number 0 is 0.5"),
    ],
)
def test_wrong_columns(changes, message):
    with pytest.raises(InvalidInputError, match=message):
        task_of({"train": split(8), "validation": split(4), "test": split(4, **changes)})


def test_an_empty_split():
    with pytest.raises(InvalidInputError, match="The split `test` of `tiny` must hold examples, but is empty"):
        task_of({"train": split(8), "validation": split(4), "test": split(4).select([])})


def test_missing_columns():
    with pytest.raises(InvalidInputError, match=r"lacks \['third'\]. It has: \['first', 'label', 'second'\]"):
        task_of(text_columns=["first", "third"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_length": 2}, "`3 <= max_length <= 128` must hold .* but got 2"),
        ({"max_length": 129}, "`3 <= max_length <= 128` must hold .* but got 129"),
        ({"max_length": 4, "text_columns": ["first", "second"]}, "`5 <= max_length <= 128` must hold"),
        ({"pad_to_multiple_of": 0}, "`pad_to_multiple_of >= 1` must hold, but got 0"),
    ],
)
def test_wrong_lengths(options, message):
    with pytest.raises(InvalidInputError, match=message):
        task_of(**{"max_length": 32, **options})
    task_of(**{**options, "max_length": 5, "pad_to_multiple_of": 1})


def test_a_tokenizer_without_padding():
    tokenizer = tiny_tokenizer()
    tokenizer.pad_token = None
    with pytest.raises(InvalidInputError, match="The tokenizer must be a fast one with a padding token"):
        task_of(tokenizer=tokenizer)
