"""Loads a model from a folder or from the Hub, as the class that its own configuration names."""

from __future__ import annotations

from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import LocalEntryNotFoundError
from transformers import AutoConfig, PreTrainedModel
from transformers.models.auto import modeling_auto

from searchhub.errors import InvalidInputError
from searchhub.files import read_json_object
from searchhub.hub.contents import MODEL_CONFIG
from searchhub.hub_client import check_repo_id, hub_errors, why_unreached
from searchhub.models.identity import check_not_quantized

WANTED = ("*.json", "*.safetensors")
"""Files that are downloaded: no code, no pickles."""


def find_folder(source: str | Path) -> Path:
    """Returns the folder itself, or the folder in the cache to which the repository was downloaded.

    Raises:
        InvalidInputError: It is neither a folder nor a valid name of a repository.
        HubError: The repository cannot be read, or the Hub cannot be reached.
    """
    if Path(source).is_dir():
        return Path(source)
    if isinstance(source, Path):
        raise InvalidInputError(f"`{source}` must be the folder of a model, but is none. Check the path.")
    check_repo_id(source)
    with hub_errors(source, None, "Then make the same call again.", None):
        unreached = why_unreached()
        try:
            return Path(snapshot_download(source, allow_patterns=list(WANTED), local_files_only=unreached is not None))
        except LocalEntryNotFoundError:
            if unreached is None:
                raise
        raise unreached


def load_model(folder: Path) -> PreTrainedModel:
    """Loads the model in a folder as the class that was saved, in float32. Code in the folder is not run.

    Raises:
        InvalidInputError: The folder holds no model that transformers and searchhub know, or its weights are quantized
            or cannot be read.
    """
    if not (folder / MODEL_CONFIG).is_file():
        raise InvalidInputError(f"`{folder}` must hold a model, but has no {MODEL_CONFIG}. Name a folder that has one.")
    check_not_quantized(read_json_object(folder / MODEL_CONFIG) or {}, folder)
    way_out = "If it brings code of its own that you trust, load it yourself and pass the model."
    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
        kind = _class(config.architectures or [], type(config))
        if kind is not None:
            return kind.from_pretrained(folder, config=config, dtype="float32", use_safetensors=True)
    except (ValueError, OSError) as error:
        said = " ".join(str(error).split())[:300].rstrip(".")
        raise InvalidInputError(
            f"`{folder}` must hold a model that transformers or searchhub can load, but: {said}. {way_out}"
        ) from error
    raise InvalidInputError(
        f"`{folder}` must hold a model of a class that transformers' Auto classes know, but its {MODEL_CONFIG} names "
        f"{config.architectures}. {way_out}"
    )


def _class(names: list[str], config_class: type) -> type[PreTrainedModel] | None:
    """Returns the class of one of these names that an Auto class has for this configuration."""
    for mapping in (value for key, value in vars(modeling_auto).items() if key.endswith("_MAPPING")):
        found = mapping.get(config_class, ())
        for kind in found if isinstance(found, tuple) else (found,):
            if kind.__name__ in names:
                return kind
    return None
