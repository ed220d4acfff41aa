"""What the recipe for BERT starts from, at its smallest: a checkpoint with its tokenizer, GLUE, and settings."""

import torch
from transformers import BertConfig, BertForSequenceClassification

from ..data.tiny_text import LABELS, SPECIAL, WORDS, text, tiny_tokenizer, write_glue
from .harness import RECIPES

RECIPE = RECIPES / "ddp_bert_glue.py"
SMALLEST = {
    "task_name": "sst2",
    "max_length": 16,
    "sequence_length": 12,
    "depths": [2, 4],
    "intermediate_sizes": [8, 16, 32],
    "num_heads": [2, 4],
    "estimation_epochs": 1,
    "scored": 4,
    "steps_per_trial": 1,
    "batch_size": 16,
    "warmup_steps": 0,
    "learning_rate": 1e-3,
    "original_learning_rate": 1e-3,
    "original_epochs": 1,
    "epochs": 1,
    "random_networks": 1,
    "max": ["encoder_params=9000"],
}
ALONE = ["--random_networks=0", "--no_uniform_network", "--no_train_largest"]
TRIALS = 3 + 2  # a trial a candidate and round
SCORED = 4
"""Architectures that are scored after them."""
SHALLOW = 2 * (4 * (24 * 24 + 24) + 24 * 32 + 32 + 32 * 24 + 24 + 4 * 24) + (24 * 24 + 24) + (24 * 2 + 2)
"""Parameters without embeddings of two whole layers, pooler and classifier."""
NAME = "encoder_params-9K"
"""Of the network."""

SIZES = {
    "hidden_size": 24,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "intermediate_size": 32,
    "vocab_size": len(SPECIAL) + len(WORDS),
    "max_position_embeddings": 64,
    "initializer_range": 0.2,
}


def write_checkpoint(folder, **changes):
    """A stock checkpoint of a classifier, never trained."""
    torch.manual_seed(0)
    BertForSequenceClassification(BertConfig(**{**SIZES, **changes})).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


def write_fine_tuned(folder, **labels):
    """A stock checkpoint that tells apart what `write_glue` writes: texts of even words, label 0, and of odd ones."""
    write_checkpoint(folder, **labels)
    model = BertForSequenceClassification.from_pretrained(folder)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    texts = [text(i) for i in range(42)]
    batch = tiny_tokenizer()(texts, padding=True, return_tensors="pt")
    zero = model.config.label2id["negative"]
    wanted = torch.tensor([i % 2 for i in range(42)])
    for _ in range(60):
        model(**batch, labels=wanted if zero == 0 else 1 - wanted).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.save_pretrained(folder)
    return folder


def write_material(root):
    """root/checkpoint and root/glue, all eight tasks."""
    write_checkpoint(root / "checkpoint")
    for task in LABELS:
        write_glue(root / "glue", task, train=96, dev=24)
