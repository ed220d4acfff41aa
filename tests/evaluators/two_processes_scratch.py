"""Run by `test_scratch.py` on two processes: a search, then one in which a network of the second process fails."""

import json
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from training.tiny import TinyTask, tiny_supernet

from searchhub.evaluators.scratch import ScratchEvaluator
from searchhub.search import search
from searchhub.searchers.dc import DCSearcher
from searchhub.training.accelerator import make_accelerator
from searchhub.training.settings import TrainingSettings
from searchhub.trial import Budget


def main(folder):
    torch.set_num_threads(1)
    accelerator = make_accelerator()
    rank = accelerator.process_index
    settings = TrainingSettings(batch_size=16, learning_rate=0.1)
    task, supernet = TinyTask(sizes=(64, 16, 16)), tiny_supernet(dropout=0.1)
    evaluator = ScratchEvaluator(supernet, task, settings, accelerator, feature_examples=16)
    trained, original = [], evaluator._evaluate

    def evaluate(trial):
        trained.append(trial.number)
        return original(trial)

    evaluator._evaluate = evaluate
    full, space = Budget(epochs=2), supernet.search_space
    options = {"num_samples": 5, "num_clusters": 2, "proxy_epochs": 2, "proxy_share": 0.5, "budget": full}
    result = search(DCSearcher(space, **options), evaluator, run_dir=folder / "run")
    history = [{k: v for k, v in r.to_dict().items() if k != "seconds"} for r in result.history]

    def fail(trial):
        if trial.number == 1:
            raise ValueError("of trial 1")
        return original(trial)

    evaluator._evaluate = fail
    try:
        search(DCSearcher(space, **options), evaluator)
        error = "none"
    except Exception as raised:
        error = str(raised)
    facts = {
        "processes": accelerator.num_processes,
        "history": history,
        "division": result.division,
        "trained": trained,
        "error": error,
    }
    (folder / f"facts-{rank}.json").write_text(json.dumps(facts))
    accelerator.end_training()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
