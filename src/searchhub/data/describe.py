"""Says in a few lines what a task holds: sizes, examples of each class, what was left out, what stands twice."""

from __future__ import annotations

from searchhub.data.task import Split, Task

SPLITS: tuple[Split, ...] = ("train", "validation", "test")

LISTED_CLASSES = 10
"""Up to this many classes are counted one by one."""


def describe_task(task: Task, kind: str = "examples", classes: str | None = None) -> str:
    """Describes a task: its first line is name, sizes and number of classes, and each further line one thing more.

    Args:
        task: The task.
        kind: Words for its examples.
        classes: Words about its classes, for a task of dense labels. None: examples of each class are counted.
    """
    sizes = ", ".join(f"{task.size(s):,} {s}" for s in SPLITS)
    lines = [f"{task.name}: {sizes} {kind}"]
    if classes is not None:
        lines = [f"{lines[0]}, {task.num_labels} classes", classes]
    elif not task.labels("train").is_floating_point():
        lines = [f"{lines[0]}, {task.num_labels} classes", _class_counts(task)]
    for split, others in (("test", ("train", "validation")), ("validation", ("train",))):
        if repeated := task.repeated(split, others):
            percent = 100 * repeated / task.size(split)
            share = f"{percent:.0f} %" if percent >= 10 else f"{percent:.2g} %"
            lines.append(
                f"{repeated:,} of the {task.size(split):,} {split} examples ({share}) stand in {' or '.join(others)}, "
                "too: figures will be too good. Drop them, or keep what belongs together by `--group_column`."
            )
    return "\n  ".join([*lines, *(f"{note[:1].upper()}{note[1:]}." for note in task.notes)])


def _class_counts(task: Task) -> str:
    """Returns the number of examples of each class and split, or its range where there are many classes."""
    counts = {split: task.labels(split).bincount(minlength=task.num_labels) for split in SPLITS}
    if task.num_labels <= LISTED_CLASSES:
        each = [
            f"`{name}` {' / '.join(f'{counts[s][i]:,}' for s in SPLITS)}" for i, name in enumerate(task.label_names)
        ]
        return f"Classes ({' / '.join(SPLITS)}): {', '.join(each)}"
    spans = []
    for split, n in counts.items():
        low, high = int(n.min()), int(n.max())
        fewest = f" (fewest: `{task.label_names[int(n.argmin())]}`)" if low < high else ""
        spans.append(f"{low:,} to {high:,} {split}{fewest}" if low < high else f"{low:,} {split}")
    return f"Of each class: {', '.join(spans)}"
