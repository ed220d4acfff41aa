"""The recipe for BERT where the fine-tuned original trains and judges the search, from end to end at its smallest."""

import json

import pytest
import yaml
from safetensors.torch import load_file

from searchhub import Limit
from searchhub.data.distilled import AGREEMENT, FIDELITY
from searchhub.networks.network import read_facts
from searchhub.networks.saved_trainer import load_trainer
from searchhub.result import SearchResult
from searchhub.run_folder import LIBRARY, TEACHER
from searchhub.trial import SCORING
from searchhub.workflows.refining import REFINED
from searchhub.workflows.trainer import SearchTrainer

from .bert_cases import ALONE, NAME, SCORED, TRIALS

PARENT = [
    "--judge=parent",
    "--judged=6",
    "--library=4",
    "--search_hidden_weight=1",
    "--refine=4",
    "--distillation_weight=1",
    "--hidden_weight=1",
    *ALONE,
]


@pytest.mark.slow
def test_the_original_trains_judges_and_teaches(finish, bert_once, tmp_path):
    folder, more = tmp_path / "run", tmp_path / "more.txt"
    more.write_text("good a b\nbad bad\nun known .\n")
    said = finish(folder, f"--unlabelled={more}", *PARENT)
    assert "ask the original: 1/1 done" in said
    assert "Hidden states of" in said
    assert f"It judged {SCORED} architectures on 6 texts each, " in said
    config = yaml.safe_load((folder / "config.yaml").read_text())["evaluator"]
    assert config["training"]["distillation_weight"] == config["training"]["hidden_weight"] == 1.0
    assert config["sizes"] == "encoder_params"
    result = SearchResult.load(folder)
    assert len(result.history) == TRIALS + SCORED
    assert all({FIDELITY, AGREEMENT} <= set(r.metrics) and 0 < r.score <= 1 for r in result.history)
    assert all(r.score == pytest.approx(r.metrics[FIDELITY]) for r in result.history)
    # 86 texts to train on and 3 more, 10 to validate on.
    assert len(load_file(folder / TEACHER / "outputs.safetensors")["teacher_logits"]) == 86 + 3 + 10
    library = json.loads((folder / LIBRARY).read_text())
    assert (library["texts"], len(library["changes"])) == (4, 1 + 1 + 4 * (2 + 1))
    assert library["changes"][0]["score"] == pytest.approx(1.0)  # the original itself
    assert "Single changes" in (folder / "report" / "report.html").read_text()
    refined = json.loads((folder / REFINED).read_text())
    assert all(trial["round"] == SCORING for trials in refined.values() for trial in trials)
    facts = read_facts(folder / "models" / NAME)
    assert facts["certificate"]["measured"] is not None
    assert facts["identity"]["training"]["hidden_weight"] == 1.0
    # The same command changes nothing; what it scored near the optimum is read.
    before = {file: file.read_bytes() for file in (folder / REFINED, folder / "models" / NAME / "model.safetensors")}
    finish(folder, f"--unlabelled={more}", *PARENT)
    assert {file: file.read_bytes() for file in before} == before
    # Later, for another limit, the same trainer teaches, judges and refines as the run did.
    trainer = SearchTrainer.from_run(folder, progress=False)
    assert load_trainer(folder).task.fingerprint() == trainer.task.fingerprint()
    assert trainer.args.refine == 4
    (network,) = trainer.choose(Limit("encoder_params", max=8000))
    assert network.architecture.certificate.measured is not None
    assert len(json.loads((folder / REFINED).read_text())) == 2


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--refine=-1"], "`--refine` must be at least 0 and needs `--scored`"),
        (["--refine=3", "--scored=0"], "`--refine` must be at least 0 and needs `--scored`, but they are 3 and 0"),
        (["--judge=parent", "--judged=0"], "`judged >= 1` and `library >= 0` must hold, but they are 0 and 0"),
        (["--judge=parent", "--unlabelled=nowhere.csv"], "`--unlabelled` must be a file, but `nowhere.csv` is none"),
        (["--searcher=uniform", "--search_hidden_weight=1"], "`--search_hidden_weight` is for a search"),
        (["--searcher=uniform", "--judge=parent", "--scored=0"], "`--judge` is for a search"),
        (["--search_hidden_weight=1"], "`--search_hidden_weight` is for a search that learns from the original"),
        (
            ["--spread=sizes", "--paths=trial"],
            "Sizes are spread evenly (`--spread sizes`) over paths that are drawn anew",
        ),
        (["--library=4", "--depths", "2", "3"], "`--library` changes the original in one choice at a time"),
        (["--refine=3", "--objective=expectation"], "`--refine` is for the objective `predicted`"),
    ],
)
def test_wrong_words(run, tmp_path, argv, message):
    code, said = run(tmp_path / "run", *argv).end()
    assert code == 1
    assert message in said
