"""What to cite, in BibTeX."""

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
    "proxylessnas": """@inproceedings{cai2019proxylessnas,
  title={{ProxylessNAS}: Direct Neural Architecture Search on Target Task and Hardware},
  author={Cai, Han and Zhu, Ligeng and Han, Song},
  booktitle={International Conference on Learning Representations},
  year={2019}
}""",
    "bert": """@inproceedings{devlin2019bert,
  title={{BERT}: Pre-training of Deep Bidirectional Transformers for Language Understanding},
  author={Devlin, Jacob and Chang, Ming-Wei and Lee, Kenton and Toutanova, Kristina},
  booktitle={Proceedings of NAACL-HLT},
  year={2019}
}""",
}
"""What `CardFacts.papers` can name."""
