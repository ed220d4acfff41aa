"""Writes a Hub-ready folder: it holds everything that a model page needs, and takes its place in one step."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel
from transformers.utils import TRANSFORMERS_DYNAMIC_MODULE_NAME

from searchhub.data.task import SavesItself
from searchhub.errors import InvalidInputError
from searchhub.files import cannot_write, sync, system_error
from searchhub.hub.contents import EVAL_RESULTS, FACTS
from searchhub.hub.search_folder import write_supernet_folder
from searchhub.models.supernet import Supernet


def save_model_folder(
    model: PreTrainedModel,
    folder: str | Path,
    *,
    card: str,
    facts: Mapping[str, Any] | None = None,
    processor: SavesItself | None = None,
    pictures: Mapping[str, bytes] | None = None,
    eval_results: str | None = None,
) -> None:
    """Writes config.json, model.safetensors, README.md, the preprocessor and the model's own code.

    The folder loads with `import searchhub` and the Auto classes. It also loads without searchhub through
    `trust_remote_code=True`, because it contains the family's flat modeling files. It appears whole or not at all, and
    replaces an earlier folder of that name.

    Args:
        model: A model of a searchhub family or of transformers itself, with its own weights.
        folder: Folder to write.
        card: Text of README.md.
        facts: Plain JSON for `searchhub.json`; None: the file is left out.
        processor: An image processor or a tokenizer, saved beside it.
        pictures: PNG files by name.
        eval_results: Text of the file that the Hub reads results from; None: there are none to read.

    Raises:
        RunFolderError: The place cannot be written to.
        InvalidInputError: The model does not belong to a searchhub family.
    """
    folder = Path(folder)
    auto_map: Mapping[str, str] = {}
    if not is_stock(model):
        own = auto_classes_of(model)
        code = Path(str(sys.modules[type(model).__module__].__file__))
        auto_map = _without_other_tasks(own, code.stem)
    with replacing_folder(folder) as temporary:
        _save_model(model, temporary, auto_map)
        for module in {path.partition(".")[0] for path in auto_map.values()}:
            shutil.copyfile(code.with_name(f"{module}.py"), temporary / f"{module}.py")
        if processor is not None:
            processor.save_pretrained(temporary)
        (temporary / "README.md").write_text(card, encoding="utf-8")
        if facts is not None:
            (temporary / FACTS).write_text(json.dumps(facts, indent=1, allow_nan=False) + "\n", encoding="utf-8")
        for name, content in (pictures or {}).items():
            (temporary / name).write_bytes(content)
        if eval_results is not None:
            (temporary / EVAL_RESULTS).parent.mkdir()
            (temporary / EVAL_RESULTS).write_text(eval_results, encoding="utf-8")


def auto_classes_of(model: PreTrainedModel) -> Mapping[str, str]:
    """What the Auto classes load of the family of a model, as "module.Class" of files beside the model's own.

    The package that the model's module is in names them, or the module itself. Where transformers loaded the code from
    a repository (`trust_remote_code=True`), the configuration names them.

    Raises:
        InvalidInputError: The model is not of a searchhub family.
    """
    name = type(model).__module__
    for module in (sys.modules.get(candidate) for candidate in (name.rpartition(".")[0], name)):
        if hasattr(module, "AUTO_CLASSES"):
            found: Mapping[str, str] = module.AUTO_CLASSES
            return found
    remote = (
        getattr(model.config, "auto_map", None) if name.startswith(f"{TRANSFORMERS_DYNAMIC_MODULE_NAME}.") else None
    )
    if remote:
        # "owner/name--module.Class" names the repository too.
        return {auto_class: path.rpartition("--")[2] for auto_class, path in remote.items()}
    raise InvalidInputError(
        "A model of a searchhub family, or of transformers itself, must be given, but got a "
        f"{type(model).__name__}. A family of your own names its `AUTO_CLASSES`: docs/my_space.md."
    )


def _without_other_tasks(auto_classes: Mapping[str, str], module: str) -> dict[str, str]:
    """Leaves out the Auto classes of tasks whose classes stand in another file than a model's own.

    A classifier's folder holds no code for segmentation then, nor does its configuration name any.
    """
    return {
        auto_class: path
        for auto_class, path in auto_classes.items()
        if not auto_class.startswith("AutoModelFor") or path.partition(".")[0] == module
    }


def is_stock(model: PreTrainedModel) -> bool:
    """Whether a model's class belongs to transformers itself, so that the model needs no code of its own."""
    return type(model).__module__.startswith("transformers.models.")


def save_supernet(supernet: Supernet, folder: str | Path, facts: Mapping[str, Mapping[str, Any]] | None = None) -> None:
    """Writes a supernet's Hub-ready folder: weights, configuration and card. It appears whole or not at all.

    Args:
        supernet: Supernet whose shared weights are written.
        folder: Folder to write.
        facts: Plain JSON objects by the names of the files to which they are written.

    Raises:
        RunFolderError: The place cannot be written to.
    """
    with replacing_folder(Path(folder)) as temporary:
        write_supernet_folder(supernet, temporary)
        for name, content in (facts or {}).items():
            (temporary / name).write_text(json.dumps(content, indent=1, allow_nan=False) + "\n", encoding="utf-8")


@contextmanager
def replacing_folder(folder: Path) -> Iterator[Path]:
    """Yields an empty folder that replaces `folder` at the end of the block. An error leaves everything as it was.

    Raises:
        RunFolderError: The place cannot be written to.
    """
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    replaced = folder.with_name(f".{folder.name}.{os.getpid()}.old")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(folder)
        temporary.mkdir()
        yield temporary
        for path in temporary.rglob("*"):
            if path.is_file():
                path.chmod(0o644)  # safetensors writes files that only the owner can read
            sync(path)
        sync(temporary)
        _swap(temporary, folder, replaced)
    except Exception as error:
        system = system_error(error)
        if system is None:
            raise
        raise cannot_write(folder, system) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _swap(new: Path, folder: Path, replaced: Path) -> None:
    """Puts a folder in the place of another. If that fails, the other one comes back."""
    try:
        if folder.exists():
            os.replace(folder, replaced)
        os.replace(new, folder)
        sync(folder.parent)
    finally:
        if replaced.exists() and not folder.exists():
            os.replace(replaced, folder)
        shutil.rmtree(replaced, ignore_errors=True)


def _remove_leftovers(folder: Path) -> None:
    """Removes what a process left that was killed while it wrote this folder."""
    for path in folder.parent.iterdir():
        if re.fullmatch(rf"\.{re.escape(folder.name)}\.\d+\.(tmp|old)", path.name):
            shutil.rmtree(path, ignore_errors=True)


def _save_model(model: PreTrainedModel, folder: Path, auto_map: Mapping[str, str]) -> None:
    # safetensors stores dense row-major tensors; training may have left others.
    state = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    before = getattr(model.config, "auto_map", None)  # of a model that was loaded
    if auto_map:
        model.config.auto_map = dict(auto_map)
    try:
        model.save_pretrained(folder, state_dict=state)
    finally:
        if before is not None:
            model.config.auto_map = before
        elif auto_map:
            del model.config.auto_map
