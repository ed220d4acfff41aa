"""The papers that the cards of models cite, in BibTeX."""

import itertools
import re
from collections.abc import Sequence

from searchhub.errors import InvalidInputError

PAPERS = {
    "ddpnas": """@article{zheng2023ddpnas,
  title={{DDPNAS}: Efficient Neural Architecture Search via Dynamic Distribution Pruning},
  author={Zheng, Xiawu and others},
  journal={International Journal of Computer Vision},
  year={2023},
  note={arXiv:1905.13543}
}""",
    "dcnas": """@article{wang2020dcnas,
  title={{DC-NAS}: Divide-and-Conquer Neural Architecture Search},
  author={Wang, Yunhe and Xu, Yixing and Tao, Dacheng},
  journal={arXiv preprint arXiv:2005.14456},
  year={2020}
}""",
    "deeplabv3": """@article{chen2017deeplabv3,
  title={Rethinking Atrous Convolution for Semantic Image Segmentation},
  author={Chen, Liang-Chieh and Papandreou, George and Schroff, Florian and Adam, Hartwig},
  journal={arXiv preprint arXiv:1706.05587},
  year={2017}
}""",
}
"""The papers of the methods in this package, by the keys that `Supernet.papers` can name."""


def bibtex(papers: Sequence[str], name: str = "papers") -> list[str]:
    """Returns the BibTeX entry of every paper.

    Args:
        papers: Keys of `PAPERS`, and BibTeX entries, which stay as they are.
        name: The name by which errors call the papers.

    Raises:
        InvalidInputError: A paper is neither a known key nor one BibTeX entry.
    """
    if isinstance(papers, str):
        raise InvalidInputError(
            f"`{name}` must be a tuple of texts, but got the text {papers!r}. Write `(…,)` around it."
        )
    wrong = [paper for paper in papers if not (_is_entry(paper) or paper in PAPERS)]
    if wrong:
        raise InvalidInputError(
            f"Each of `{name}` must be among {sorted(PAPERS)} or one BibTeX entry like `@article{{key, title={{…}}}}`, "
            f"whose braces are closed, but got {wrong}."
        )
    return [PAPERS.get(paper, paper.strip()) for paper in papers]


def _is_entry(text: object) -> bool:
    """Whether a value is the text of one BibTeX entry that can stand in a block of code."""
    text = text.strip() if isinstance(text, str) else ""
    begins = re.match(r"@\w+\{[^\s,{}]+,", text) is not None and "```" not in text
    depths = list(itertools.accumulate((c == "{") - (c == "}") for c in text[text.find("{") :]))
    return begins and 0 in depths and depths.index(0) == len(depths) - 1
