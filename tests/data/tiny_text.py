"""A tokenizer of a few words, and GLUE in its official layouts, both made in a moment."""

from transformers import BertTokenizer

WORDS = ("a", "b", "c", "d", "e", "f", "good", "bad", "na", "null", '"', "'", "un", "##known", ".")
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")

LABELS = {
    "cola": ("0", "1"),
    "sst2": ("0", "1"),
    "mrpc": ("0", "1"),
    "stsb": ("0.000", "2.500", "5.000"),
    "qqp": ("0", "1"),
    "mnli": ("entailment", "neutral", "contradiction"),
    "qnli": ("entailment", "not_entailment"),
    "rte": ("entailment", "not_entailment"),
}
"""As the official tsv files write them."""

HEADERS = {
    "sst2": ("sentence", "label"),
    "mrpc": ("Quality", "#1 ID", "#2 ID", "#1 String", "#2 String"),
    "stsb": (
        *("index", "genre", "filename", "year", "old_index", "source1", "source2"),
        *("sentence1", "sentence2", "score"),
    ),
    "qqp": ("id", "qid1", "qid2", "question1", "question2", "is_duplicate"),
    "mnli": (
        *("index", "promptID", "pairID", "genre", "sentence1_binary_parse", "sentence2_binary_parse"),
        *("sentence1_parse", "sentence2_parse", "sentence1", "sentence2", "label1", "gold_label"),
    ),
    "qnli": ("index", "question", "sentence", "label"),
    "rte": ("index", "sentence1", "sentence2", "label"),
}
"""Of the official train.tsv; CoLA's has none."""

FOLDERS = {
    "cola": "CoLA",
    "sst2": "SST-2",
    "mrpc": "MRPC",
    "stsb": "STS-B",
    "qqp": "QQP",
    "mnli": "MNLI",
    "qnli": "QNLI",
    "rte": "RTE",
}

FIRST = ("sentence", "#1 String", "question1", "sentence1", "question")
SECOND = ("#2 String", "question2", "sentence2")
LABEL = ("Quality", "score", "is_duplicate", "gold_label", "label")


def tiny_tokenizer(folder=None):
    """Lower-cased words of WORDS; saved and loaded again where a folder is given."""
    tokenizer = BertTokenizer(vocab={word: i for i, word in enumerate((*SPECIAL, *WORDS))}, model_max_length=128)
    if folder is None:
        return tokenizer
    tokenizer.save_pretrained(folder)
    return BertTokenizer.from_pretrained(folder)


def text(i):
    """A text of 1 … 7 words, a different one for each i < 42."""
    return " ".join([WORDS[i % 6]] * (1 + i % 7))


def rows(task, n, start=0):
    """Rows of an official file: [n] lists of fields, and the texts and labels in them."""
    labels = LABELS[task]
    for i in range(start, start + n):
        first, second, label = text(i), text(i + 1), labels[i % len(labels)]
        if task == "cola":
            yield ["gj04", label, "*" if label == "0" else "", first]
        elif task == "qnli":
            yield [str(i), first, second, label]
        else:
            known = {
                **dict.fromkeys(FIRST, first),
                **dict.fromkeys(SECOND, second),
                **dict.fromkeys(LABEL, label),
            }
            yield [known.get(name, f"{name} {i}") for name in HEADERS[task]]


def write_tsv(file, header, rows, newline="\n", encoding="utf-8"):
    lines = ["\t".join(row) for row in ([header] if header else []) + list(rows)]
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes((newline.join(lines) + newline).encode(encoding))


def write_glue(root, task, train=60, dev=12, **options):
    """The official folder of a task in `root`; MNLI's second dev set has three examples more than the first."""
    folder, header = root / FOLDERS[task], HEADERS.get(task)
    write_tsv(folder / "train.tsv", header, rows(task, train), **options)
    if task != "mnli":
        write_tsv(folder / "dev.tsv", header, rows(task, dev, start=train), **options)
        return folder
    header = (*header[:-1], "label2", "label3", "label4", "label5", "gold_label")  # dev files have five annotators
    for name, n in (("dev_matched", dev), ("dev_mismatched", dev + 3)):
        wide = [[*row[:-1], "x", "x", "x", "x", row[-1]] for row in rows(task, n, start=train)]
        write_tsv(folder / f"{name}.tsv", header, wide, **options)
    return folder
