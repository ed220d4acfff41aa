"""Run by `test_mixture.py`: a short training of a mixture; writes what every rank ended with."""

import json
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from models.tiny_fbnet import tiny_fbnet
from training.tiny import TinyTask

from searchhub.costs.macs import macs_table
from searchhub.evaluators.candidate_features import CandidateFeatures
from searchhub.training.accelerator import make_accelerator
from searchhub.training.gumbel import MixtureSettings
from searchhub.training.mixture import MixtureTrainer
from searchhub.training.settings import TrainingSettings


def main(folder, parts):
    torch.set_num_threads(1)
    accelerator = make_accelerator()
    rank, ranks = accelerator.process_index, accelerator.num_processes
    task, supernet = TinyTask(), tiny_fbnet(seed=rank)  # the main process's weights must be those that count
    trainer = MixtureTrainer(
        supernet,
        task,
        TrainingSettings(batch_size=16, gradient_accumulation_steps=parts),
        accelerator,
        mixture=MixtureSettings(epochs=2, warmup_epochs=0, learning_rate=0.1),
        cost=macs_table(supernet),
        recorder=CandidateFeatures(supernet, task, accelerator, num_images=9),  # a ragged share
    )
    result = trainer.train(folder / f"run{ranks}")
    facts = {
        "rank": rank,
        "logits": result.logits.tolist(),
        "weights": [p.double().norm().item() for p in supernet.parameters()],
        "table": trainer.recorder.table().tolist(),
        "buffers": [b.double().sum().item() for b in supernet.buffers()],
    }
    (folder / f"{ranks}-{rank}.json").write_text(json.dumps(facts))
    accelerator.end_training()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
