"""DC-NAS on networks trained apart, in milliseconds: what the recipes do, without them."""

import pytest
import torch

from searchhub.costs.macs import macs_table
from searchhub.costs.params import params_table
from searchhub.errors import DivergedError, InvalidInputError, RunMismatchError
from searchhub.evaluators import scratch as scratch_module
from searchhub.evaluators.scratch import ScratchEvaluator
from searchhub.models.channel_cnn.supernet_channel_cnn import ChannelCnnSupernet, ChannelCnnSupernetConfig
from searchhub.networks import trainer as networks_module
from searchhub.networks.trainer import NetworkTrainer
from searchhub.result import SearchResult
from searchhub.searchers.dc import DCSearcher
from searchhub.searchers.division import winners_in_order
from searchhub.training.accelerator import make_accelerator
from searchhub.training.settings import TrainingSettings
from searchhub.trial import Budget
from searchhub.workflows.divide_and_conquer import divide_and_conquer, plan

from ..training.tiny import TinyTask

SAMPLES = 5


def parts(folder, *, num_clusters=2, early=None, full=None, final=None, epochs=2, **searching):
    """Searcher, evaluator of early-stopped networks, trainer of winners."""
    torch.manual_seed(0)
    sizes = {"channels": [4, 8], "ratios": [0.5, 1, 2], "pool_after": [1]}
    supernet = ChannelCnnSupernet(ChannelCnnSupernetConfig(**sizes, num_labels=4, image_size=8))
    space, task, accelerator = supernet.search_space, TinyTask(sizes=(64, 16, 16)), make_accelerator()
    settings = {"batch_size": 16, "learning_rate": 0.1}
    searcher = DCSearcher(
        space,
        num_samples=SAMPLES,
        num_clusters=num_clusters,
        proxy_epochs=2,
        proxy_share=0.5,
        budget=Budget(epochs),
        **searching,
    )
    evaluator = ScratchEvaluator(
        supernet, task, TrainingSettings(**{**settings, **(early or {})}), accelerator, **(full or {})
    )
    trainer = NetworkTrainer(
        supernet,
        SearchResult(space, ()).with_costs(macs_table(supernet), params_table(supernet)),
        task,
        TrainingSettings(**{**settings, **(final or {})}),
        accelerator,
        epochs=epochs,
        seed=0,
        folder=folder,
        train_on="train",
    )
    return searcher, evaluator, trainer


def watch_trainings(patch):
    """A list that will name the trainings that take place."""
    seen = []
    for module, name in ((scratch_module, "early"), (networks_module, "full")):
        original = module.fit

        def fit(*args, name=name, original=original, **options):
            seen.append(name)
            return original(*args, **options)

        patch.setattr(module, "fit", fit)
    return seen


@pytest.fixture
def trained(monkeypatch):
    """Names the trainings that take place."""
    return watch_trainings(monkeypatch)


@pytest.fixture(scope="module", autouse=True)
def no_pictures():
    """Matplotlib would take longer than all else."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(networks_module, "_picture", lambda *_: b"")
        yield


@pytest.fixture(scope="module")
def divided(no_pictures, tmp_path_factory):
    """A run that is not to be changed: its folder, what came out of it, and its trainings."""
    folder = tmp_path_factory.mktemp("divided") / "one"
    with pytest.MonkeyPatch.context() as patch:
        seen = watch_trainings(patch)
        return folder, divide_and_conquer(*parts(folder)), seen


def same(one, other):
    return [{k: v for k, v in r.to_dict().items() if k != "seconds"} for r in one.history] == [
        {k: v for k, v in r.to_dict().items() if k != "seconds"} for r in other.history
    ]


def test_the_same_networks_are_divided_otherwise_without_training_them_again(divided, tmp_path, trained):
    one, first, seen = divided
    assert seen == ["early"] * SAMPLES + ["full"] * 2
    otherwise = {"num_clusters": 3, "method": "hierarchical", "epochs": 3, "final": {"learning_rate": 0.05}}
    with pytest.raises(RunMismatchError) as refused:
        divide_and_conquer(*parts(one, **otherwise))
    assert "`searcher.num_clusters` was 2, now 3" in str(refused.value)
    assert f"with `--early_from {one}` and another `--output_dir` none" in str(refused.value)
    assert trained == []
    other = divide_and_conquer(*parts(tmp_path / "two", **otherwise), early_from=one)
    assert trained == ["full"] * 3
    assert [r.score for r in other.result.history[:SAMPLES]] == [r.score for r in first.result.history[:SAMPLES]]
    assert len(winners_in_order(other.result)) == 3
    fresh = divide_and_conquer(*parts(tmp_path / "three", **otherwise))
    assert same(fresh.result, other.result)
    assert fresh.result.division == other.result.division


def test_features_that_do_not_divide_lose_no_network(tmp_path, trained):
    """With Eq. 6 and no learning, nothing moves between the epochs."""
    still = {"early": {"learning_rate": 1e-300, "weight_decay": 0.0}, "full": {"features": "parameters"}}
    for _ in range(2):
        with pytest.raises(InvalidInputError, match=r"every column is constant.*`--early_from .*one`"):
            divide_and_conquer(*parts(tmp_path / "one", **still))
    assert trained == ["early"] * SAMPLES
    with pytest.raises(RunMismatchError, match="num_clusters"):
        divide_and_conquer(*parts(tmp_path / "one", num_clusters=1, **still))
    del trained[:]
    found = divide_and_conquer(*parts(tmp_path / "two", num_clusters=1, **still), early_from=tmp_path / "one")
    assert trained == ["full"]
    assert found.result.division["sizes"] == [SAMPLES]


def test_networks_of_another_training_are_not_taken_over(divided, tmp_path):
    with pytest.raises(RunMismatchError, match=r"one/early` must go on with .*learning_rate"):
        divide_and_conquer(*parts(tmp_path / "two", early={"learning_rate": 0.2}), early_from=divided[0])
    with pytest.raises(InvalidInputError, match="nowhere/early` must hold"):
        divide_and_conquer(*parts(tmp_path / "two"), early_from=tmp_path / "nowhere")
    assert not (tmp_path / "two").exists()


def test_settings_of_the_final_training_are_checked_before_the_early_one(tmp_path, trained):
    wrong = parts(tmp_path / "run", final={"batch_size": 80})
    for start in (divide_and_conquer, plan):
        with pytest.raises(InvalidInputError, match="split `train` of `tiny` must hold at least one batch of 80"):
            start(*wrong)
    with pytest.raises(InvalidInputError, match=r"at least one batch of 48, but .*Or raise the budget's `data_share`"):
        plan(*parts(tmp_path / "run", early={"batch_size": 48}))
    assert trained == []
    assert not (tmp_path / "run").exists()


def test_a_winner_that_diverges_is_no_winner_of_all(tmp_path, monkeypatch, capsys):
    original, calls = networks_module.fit, []

    def fit(*args, **options):
        calls.append(1)
        if len(calls) == 1:
            raise DivergedError("The loss must stay finite.")
        return original(*args, **options)

    monkeypatch.setattr(networks_module, "fit", fit)
    for _ in range(2):  # the second finds all done
        found = divide_and_conquer(*parts(tmp_path / "run"))
        assert [row["network"] for row in found.rows] == ["cluster-1"]
        assert found.lost == ["cluster-0"]
        assert [(r.score, dict(r.metrics)) for r in found.result.history[-2:-1]] == [(0.0, {"diverged": 1.0})]
        assert found.result.best_trial.trial.number == SAMPLES + 1
        assert [path.name for path in (tmp_path / "run" / "models").iterdir()] == ["cluster-1"]
    assert len(calls) == 2
    card = (tmp_path / "run" / "models" / "cluster-1" / "README.md").read_text()
    assert "- `diverged.winners`: 1" in card
    found.tell()
    assert "Diverged in full training, and not published: cluster-0" in capsys.readouterr().out


def test_where_every_winner_diverges_the_way_out_works(tmp_path, trained):
    with pytest.raises(DivergedError, match=r"all 2 did\. Lower its learning rate\..*`--early_from "):
        divide_and_conquer(*parts(tmp_path / "one", final={"learning_rate": 1e30, "max_grad_norm": None}))
    del trained[:]
    found = divide_and_conquer(*parts(tmp_path / "two"), early_from=tmp_path / "one")
    assert trained == ["full"] * 2
    assert found.lost == []


def test_a_card_tells_what_was_clustered(tmp_path):
    divide_and_conquer(*parts(tmp_path / "run", full={"feature_examples": 8}))
    card = (tmp_path / "run" / "models" / "cluster-0" / "README.md").read_text()
    for line in ("`features.kind`: outputs", "`features.examples`: 8", "`diverged.early-stopped`: 0"):
        assert f"- {line}" in card


def test_a_plan_says_how_much_it_is(tmp_path, trained):
    searcher, early, trainer = parts(tmp_path / "run")
    said = plan(searcher, early, trainer).splitlines()
    assert said[0] == "Early-stopped: 5 networks, 2 epochs of about 2 steps of 16"
    assert said[2] == "Winners: 2 networks, 2 epochs of about 4 steps of 16"
    low, high = trainer.result.costs["macs"].bounds()
    assert f"  macs: {low:,.0f} to {high:,.0f}" in said
    assert trained == []
    assert not (tmp_path / "run").exists()
