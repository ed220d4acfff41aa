"""Run by `test_processes.py`: a few trials and a final training; writes what every rank ended with."""

import json
import sys
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

sys.path.insert(0, str(Path(__file__).parents[1]))

from training.tiny import TinyTask, tiny_supernet

from searchhub.evaluators.supernet import SupernetEvaluator
from searchhub.search import search
from searchhub.searchers.ddp import DDPSearcher
from searchhub.training.accelerator import make_accelerator
from searchhub.training.fit import fit
from searchhub.training.settings import TrainingSettings


def main(folder, parts):
    torch.set_num_threads(1)
    accelerator = make_accelerator()
    rank, ranks = accelerator.process_index, accelerator.num_processes
    # 17 validation pictures: a ragged share on two processes.
    task = TinyTask(sizes=(32, 17, 17))
    settings = TrainingSettings(batch_size=16, gradient_accumulation_steps=parts)
    for paths in ("trial", "fresh"):
        supernet = tiny_supernet()
        # The main process's seed must be the one that counts.
        seed = 5 + 7 * rank
        searcher = DDPSearcher(supernet.search_space, estimation_epochs=1, prune=False, evaluations=3, seed=seed)
        evaluator = SupernetEvaluator(supernet, task, settings, accelerator, num_trials=3, paths=paths)
        result = search(searcher, evaluator, run_dir=folder / f"{paths}{ranks}")
        weights = {n: p.detach().contiguous() for n, p in supernet.named_parameters()}
        save_file(weights, folder / f"{paths}-{ranks}-{rank}")
    model = supernet.extract(result.space.decode(np.zeros(3, dtype=np.uint8)))
    fitted = fit(model, task, settings, accelerator, epochs=1, seed=0)
    save_file({n: t.contiguous() for n, t in model.state_dict().items()}, folder / f"fitted-{ranks}-{rank}")
    group = torch.distributed.is_initialized() and torch.distributed.distributed_c10d._get_default_group()
    facts = {
        "processes": ranks,
        "patience": group and group._get_backend(torch.device("cpu")).options._timeout.total_seconds(),
        "architectures": [r.trial.architecture.to_dict() for r in result.history],
        "scores": [r.score for r in result.history],
        "theta": [t.tolist() for t in result.distribution.theta],
        "accuracy": fitted.metrics["accuracy"],
    }
    (folder / f"facts-{ranks}-{rank}.json").write_text(json.dumps(facts))
    accelerator.end_training()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
