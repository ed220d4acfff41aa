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
    "fbnet": """@inproceedings{wu2019fbnet,
  title={{FBNet}: Hardware-Aware Efficient {ConvNet} Design via Differentiable Neural Architecture Search},
  author={Wu, Bichen and others},
  booktitle={Conference on Computer Vision and Pattern Recognition},
  year={2019}
}""",
    "darts": """@inproceedings{liu2019darts,
  title={{DARTS}: Differentiable Architecture Search},
  author={Liu, Hanxiao and Simonyan, Karen and Yang, Yiming},
  booktitle={International Conference on Learning Representations},
  year={2019}
}""",
    "nasbench201": """@inproceedings{dong2020nasbench201,
  title={{NAS-Bench-201}: Extending the Scope of Reproducible Neural Architecture Search},
  author={Dong, Xuanyi and Yang, Yi},
  booktitle={International Conference on Learning Representations},
  year={2020}
}""",
    "bert": """@inproceedings{devlin2019bert,
  title={{BERT}: Pre-training of Deep Bidirectional Transformers for Language Understanding},
  author={Devlin, Jacob and Chang, Ming-Wei and Lee, Kenton and Toutanova, Kristina},
  booktitle={Proceedings of NAACL-HLT},
  year={2019}
}""",
}
"""What `CardFacts.papers` can name."""
