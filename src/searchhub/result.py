"""The outcome of a search: θ, predicted quality and history, in one JSON file that is enough to generate from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from searchhub._public import public
from searchhub.costs.table import CostTable
from searchhub.distribution import ArchitectureDistribution
from searchhub.effects import PredictedQuality
from searchhub.errors import InvalidInputError
from searchhub.files import write_json
from searchhub.hub_client import download
from searchhub.space import SearchSpace
from searchhub.trial import TrialResult, most_trained

if TYPE_CHECKING:
    from searchhub._public import GeneratedArchitecture, Limit, PublishedRevision

FORMAT_VERSION = 1


@dataclass(frozen=True)
class SearchResult:
    """The outcome of one search, from which `generate` makes a network for every limit.

    Args:
        space: The space that was searched.
        history: Every trial, in order. Those of round `searchhub.trial.WARMUP` came before the search.
        distribution: θ with its survivors. None: the searcher has no θ (random search).
        trajectory: θ before the first round and after each (DDPNAS Fig. 4).
        searcher: Settings of the searcher.
        costs: Cost tables by name, so that limits can refer to them: `Limit("macs", max=6e8)`.
        division: How DC-NAS divided what it sampled and what won, as plain JSON (`searchhub.searchers.dc.Division`).
            Empty: the search was not of DC-NAS.
        prediction: What the scores say of architectures that were not scored. None: `generate` goes by θ, or by what
            was evaluated. `PredictedQuality.fit(result.space, result.history)` makes one of any result with trials.
    """

    space: SearchSpace
    history: tuple[TrialResult, ...]
    distribution: ArchitectureDistribution | None = None
    trajectory: tuple[ArchitectureDistribution, ...] = ()
    searcher: Mapping[str, Any] = field(default_factory=dict)
    costs: Mapping[str, CostTable] = field(default_factory=dict)
    division: Mapping[str, Any] = field(default_factory=dict)
    prediction: PredictedQuality | None = None

    def with_costs(self, *costs: CostTable) -> SearchResult:
        """Returns the same result with these cost tables added."""
        return replace(self, costs={**self.costs, **{cost.name: cost for cost in costs}})

    @property
    def objective(self) -> Literal["predicted quality", "expectation", "score"]:
        """What `generate` maximises unless it is told otherwise; "score": among the evaluated architectures."""
        if self.prediction is not None:
            return "predicted quality"
        return "score" if self.distribution is None else "expectation"

    @property
    def best_trial(self) -> TrialResult:
        """The trial with the best score among those of the largest budget; if scores are equal, the first.

        Raises:
            InvalidInputError: The search has no trial.
        """
        compared = most_trained(self.history)
        if not compared:
            raise InvalidInputError("A search result must hold at least one trial to have a best one.")
        return max(compared, key=lambda r: r.score)

    def generate(
        self,
        *limits: Limit,
        candidates: Literal["all", "survivors"] = "all",
        objective: Literal["expectation", "predicted"] | None = None,
        use_budget: bool = True,
    ) -> GeneratedArchitecture:
        """Returns the best architecture within limits. See `searchhub.generate(result, *limits)`."""
        generated: GeneratedArchitecture = public("generate")(
            self, *limits, candidates=candidates, objective=objective, use_budget=use_budget
        )
        return generated

    def pareto(
        self,
        cost: CostTable | str,
        candidates: Literal["all", "survivors"] = "all",
        objective: Literal["expectation", "predicted"] | None = None,
    ) -> list[GeneratedArchitecture]:
        """Returns the front of the objective against a cost. See `searchhub.pareto(result, cost)`."""
        front: list[GeneratedArchitecture] = public("pareto")(self, cost, candidates=candidates, objective=objective)
        return front

    def to_dict(self) -> dict[str, Any]:
        """Returns plain JSON, which `from_dict` reads."""
        data = {
            "format_version": FORMAT_VERSION,
            "space": self.space.to_dict(),
            "searcher": dict(self.searcher),
            "distribution": None if self.distribution is None else self.distribution.to_dict(),
            "trajectory": [d.to_dict() for d in self.trajectory],
            "costs": [cost.to_dict() for cost in self.costs.values()],
            "history": [r.to_dict() for r in self.history],
        }
        if self.division:
            data["division"] = dict(self.division)
        if self.prediction is not None:
            data["prediction"] = self.prediction.to_dict()
        return data

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> SearchResult:
        """Returns the result that `to_dict` wrote."""
        if data.get("format_version") != FORMAT_VERSION:
            raise InvalidInputError(
                f"A search result must have format version {FORMAT_VERSION}, but has {data.get('format_version')!r}. "
                "Read it with the searchhub that wrote it."
            )
        space = SearchSpace.from_dict(data["space"])
        costs = [CostTable.from_dict(space, c) for c in data["costs"]]
        return cls(
            space,
            tuple(TrialResult.from_dict(r) for r in data["history"]),
            None if data["distribution"] is None else ArchitectureDistribution.from_dict(space, data["distribution"]),
            tuple(ArchitectureDistribution.from_dict(space, d) for d in data["trajectory"]),
            data["searcher"],
            {cost.name: cost for cost in costs},
            data.get("division", {}),
            PredictedQuality.from_dict(space, data["prediction"]) if "prediction" in data else None,
        )

    def save(self, path: str | Path) -> None:
        """Writes `result.json`, atomically."""
        write_json(Path(path), self.to_dict())

    def save_pretrained(self, folder: str | Path) -> None:
        """Writes what `push_to_hub` pushes, result.json and a card. See `searchhub.save_result_folder(result, folder)`.

        `from_pretrained` reads the folder. Each file appears whole or not at all.

        Raises:
            InvalidInputError: The folder holds a model, whose card would be replaced.
            RunFolderError: The folder cannot be written.
        """
        public("save_result_folder")(self, folder)

    def push_to_hub(
        self,
        repo_id: str,
        *,
        token: str | None = None,
        private: bool | None = None,
        revision: str | None = None,
        commit_message: str | None = None,
        create_pr: bool = False,
        overwrite: bool = False,
    ) -> PublishedRevision:
        """Pushes result.json and a card in one commit. See `searchhub.publish(result, repo_id, …)`.

        Raises:
            InvalidInputError: The repository holds something else.
            HubError: The Hub refused or could not be reached.
        """
        published: PublishedRevision = public("publish")(
            self,
            repo_id,
            token=token,
            private=private,
            revision=revision,
            commit_message=commit_message,
            create_pr=create_pr,
            overwrite=overwrite,
        )
        return published

    @classmethod
    def from_pretrained(
        cls, name: str | Path, *, revision: str | None = None, token: str | None = None
    ) -> SearchResult:
        """Loads a search result from the Hub or a folder; `generate` makes networks from it without another search.

        Args:
            name: A repository on the Hub, "owner/name"; or a folder.
            revision: Branch, tag or commit of the repository.
            token: Access token with read access. None: the token of the login.

        Raises:
            InvalidInputError: The repository or folder holds no search result.
            HubError: The repository cannot be read, or the Hub cannot be reached.
        """
        if Path(name).exists():
            return cls.load(name)
        return cls.load(download(str(name), "result.json", revision=revision, token=token))

    @classmethod
    def load(cls, path: str | Path) -> SearchResult:
        """Reads a `result.json`, or the one in a run folder.

        Raises:
            InvalidInputError: There is no such file, or it is not a search result.
        """
        path = Path(path)
        file = path / "result.json" if path.is_dir() else path
        try:
            return cls.from_dict(json.loads(file.read_text(encoding="utf-8")))
        except FileNotFoundError:
            raise InvalidInputError(f"`{path}` must hold a result.json. Finish the search first.") from None
        except OSError as error:
            raise InvalidInputError(f"`{file}` must be readable, but the system said: {error.strerror}.") from error
        except InvalidInputError:
            raise
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InvalidInputError(f"`{file}` is not a search result of searchhub: {error!r}.") from error
