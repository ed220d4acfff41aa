"""What a model or a supernet does when it is asked to push itself: what `searchhub.publish` does."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, NoReturn

from transformers import PreTrainedModel

from searchhub._public import public
from searchhub.errors import InvalidInputError

if TYPE_CHECKING:
    from searchhub._public import PublishedRevision


def push_to_hub(
    self: PreTrainedModel,
    repo_id: str,
    *,
    private: bool | None = None,
    token: str | bool | None = None,
    revision: str | None = None,
    commit_message: str | None = None,
    create_pr: bool = False,
    overwrite: bool = False,
    **others: Any,
) -> PublishedRevision:
    """Pushes this model with its code and a card, in one commit, and never over another one: `searchhub.publish`.

    The card says what the model itself says: class, blocks and sizes. What was measured is known to the folder that a
    run wrote. Where this model was loaded from such a folder (it holds a searchhub.json) and its weights are unchanged,
    `searchhub.publish(folder, repo_id)` keeps the measured numbers; this method replaces the card that has them.

    Args:
        repo_id: "owner/name"; without an owner it is the token's.
        private: Who sees a new repository; None: the owner's default.
        token: A token with write access; None or True: the one that is logged in with.
        revision: Branch to push to; None: the main one.
        commit_message: None: says what it is and which searchhub wrote it.
        create_pr: Open a pull request instead of pushing to the main branch.
        overwrite: Push over something else.
        others: Arguments that transformers takes and `publish` does not. They must be None.

    Raises:
        InvalidInputError: An argument is not one of `publish`, or the repository holds something else.
        HubError: The Hub refused or could not be reached.
    """
    given = sorted(name for name, value in others.items() if value is not None)
    if given:
        raise InvalidInputError(
            "`push_to_hub` of a searchhub model must be given only what `searchhub.publish` takes (`private`, `token`, "
            f"`revision`, `commit_message`, `create_pr`, `overwrite`), but got {', '.join(f'`{n}`' for n in given)}. "
            "Leave that out; or write the files yourself with `save_pretrained` and upload them with huggingface_hub."
        )
    if token is False:
        raise InvalidInputError(
            "A token must be there to push with, but got `token=False`. Pass one, or None for the one that is logged "
            "in with."
        )
    published: PublishedRevision = public("publish")(
        self,
        repo_id,
        private=private,
        token=None if token is True else token,
        revision=revision,
        commit_message=commit_message,
        create_pr=create_pr,
        overwrite=overwrite,
    )
    return published


def refuse_to_push(model: PreTrainedModel) -> NoReturn:
    """Refuses to push while a model is saved: transformers would push without code and card, over anything.

    Raises:
        InvalidInputError: Always.
    """
    raise InvalidInputError(
        f"`save_pretrained` of a `{type(model).__name__}` must only save, but got `push_to_hub=True`, which would push "
        "without code and card, over whatever is there. Leave it out, and call `push_to_hub(repo_id)`."
    )


class PublishMixin:
    """Makes `push_to_hub` of a model class do what `searchhub.publish` does. It comes before `PreTrainedModel`.

    It is for supernets and for families outside searchhub whose file imports searchhub. Files that must also run
    without searchhub forward by themselves, as those of searchhub's own families do.
    """

    push_to_hub = push_to_hub

    def save_pretrained(
        self,
        save_directory: str | os.PathLike[str],
        is_main_process: bool = True,
        state_dict: dict[str, Any] | None = None,
        push_to_hub: bool = False,
        **options: Any,
    ) -> None:
        """Saves as transformers does.

        Raises:
            InvalidInputError: `push_to_hub` is True.
        """
        if push_to_hub:
            refuse_to_push(self)
        super().save_pretrained(save_directory, is_main_process, state_dict, **options)
