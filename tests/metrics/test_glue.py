import numpy as np
import pytest
import torch
from accelerate import Accelerator, debug_launcher
from accelerate.state import AcceleratorState
from scipy.stats import pearsonr, rankdata
from torch.utils.data import DataLoader, TensorDataset

from searchhub.errors import InvalidInputError
from searchhub.metrics.glue import GLUE_METRICS, GlueMetric

PREDICTIONS, REFERENCES = [1, 1, 1, 0, 0, 1], [1, 0, 1, 1, 0, 0]  # 2 true and 2 false positives, 1 false negative


@pytest.mark.parametrize("task", ["sst2", "mnli", "qnli", "rte"])
def test_accuracy(task):
    assert GlueMetric(task).compute(predictions=[0, 1, 1, 0], references=[0, 1, 0, 0]) == {"accuracy": 0.75}


def test_three_classes():
    assert GlueMetric("mnli").compute(predictions=[0, 1, 2], references=[0, 2, 2]) == {"accuracy": 2 / 3}


@pytest.mark.parametrize("task", ["mrpc", "qqp"])
def test_f1_is_of_class_1(task):
    metrics = GlueMetric(task).compute(predictions=PREDICTIONS, references=REFERENCES)
    assert metrics == pytest.approx({"f1": 2 * 2 / (2 * 2 + 2 + 1), "accuracy": 0.5})
    assert tuple(metrics) == GLUE_METRICS[task]


def test_matthews_correlation():
    # (tp tn - fp fn) / sqrt((tp+fp)(tp+fn)(tn+fp)(tn+fn)) with tp 2, tn 1, fp 2, fn 1: 0
    assert GlueMetric("cola").compute(predictions=PREDICTIONS, references=REFERENCES) == {"matthews_correlation": 0.0}
    wrong = GlueMetric("cola").compute(predictions=[1, 1, 0, 0, 1], references=[1, 0, 0, 0, 1])
    assert wrong["matthews_correlation"] == pytest.approx((2 * 2 - 1 * 0) / np.sqrt(3 * 2 * 3 * 2))


def test_correlations():
    rng = np.random.default_rng(0)
    references = rng.random(40)
    predictions = np.exp(3 * references) + 0.1 * rng.random(40)
    found = GlueMetric("stsb").compute(predictions=predictions, references=references)
    expected = {
        "pearson": np.corrcoef(predictions, references)[0, 1],
        "spearmanr": pearsonr(rankdata(predictions), rankdata(references)).statistic,
    }
    assert found == pytest.approx(expected, abs=1e-6)
    assert found["pearson"] < found["spearmanr"]


@pytest.mark.parametrize("predictions", [[0, 0, 0, 0], [1, 1, 1, 1]])
def test_constant_classes(predictions):
    metrics = GlueMetric("cola").compute(predictions=predictions, references=[0, 1, 1, 0])
    assert metrics == {"matthews_correlation": 0.0}


def test_f1_where_there_is_no_positive():
    assert GlueMetric("mrpc").compute(predictions=[0, 0], references=[0, 0]) == {"f1": 0.0, "accuracy": 1.0}


@pytest.mark.parametrize(
    ("predictions", "references"), [([2.5, 2.5, 2.5], [1.0, 2.0, 3.0]), ([1.0, 2.0], [3.0, 3.0]), ([1.0], [2.0])]
)
@pytest.mark.filterwarnings("error")
def test_correlations_without_a_value_are_0(predictions, references):
    metrics = GlueMetric("stsb").compute(predictions=predictions, references=references)
    assert metrics == {"pearson": 0.0, "spearmanr": 0.0}


def test_nan_stays_nan():
    metrics = GlueMetric("stsb").compute(predictions=[1.0, float("nan"), 2.0], references=[1.0, 2.0, 3.0])
    assert np.isnan(metrics["pearson"])


def test_an_unknown_task():
    with pytest.raises(InvalidInputError, match=r"`task_name` must be one of cola, sst2, .*, but is 'wnli'"):
        GlueMetric("wnli")


def gathered(task, predictions, references, expected):
    """On each of two processes: batches of 4, the last one ragged and filled up by Accelerate."""
    torch.set_num_threads(1)
    AcceleratorState._reset_state(reset_partial_state=True)  # of an Accelerator that another test made before the fork
    accelerator = Accelerator(cpu=True)
    assert accelerator.num_processes == 2
    loader = accelerator.prepare(DataLoader(TensorDataset(predictions, references), batch_size=4))
    metric = GlueMetric(task)
    for batch in loader:
        p, r = accelerator.gather_for_metrics(tuple(batch))
        metric.add_batch(predictions=p, references=r)
    found = metric.compute()
    assert found.keys() == expected.keys()
    assert all(abs(found[name] - expected[name]) < 1e-6 for name in expected), (found, expected)


@pytest.mark.parametrize("task", ["cola", "mrpc", "stsb"])
def test_two_processes_and_a_ragged_end(task):
    generator = torch.Generator().manual_seed(0)
    if task == "stsb":
        predictions, references = torch.rand(2, 37, generator=generator)
    else:
        predictions, references = torch.randint(0, 2, (2, 37), generator=generator)
    expected = GlueMetric(task).compute(predictions=predictions, references=references)
    Accelerator(cpu=True)
    debug_launcher(gathered, (task, predictions, references, expected), num_processes=2)
