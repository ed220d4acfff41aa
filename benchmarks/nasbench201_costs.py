"""Parameters and multiply-adds of all 15,625 networks, counted from the models here, against the published table.

python benchmarks/nasbench201_costs.py --table path/to/nasbench201.parquet
"""

from __future__ import annotations

import argparse
import json

import numpy as np

from searchhub import NasBench201SupernetConfig, NasBench201SupernetForImageClassification, macs_table, params_table
from searchhub.evaluators.tabular import read_nasbench201

SIZES = {"cifar10": (10, 32), "cifar100": (100, 32), "ImageNet16-120": (120, 16)}
"""Classes, and height and width of pictures."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", required=True, help="nasbench201.parquet, or the folder that holds it")
    arguments = parser.parse_args()
    figures = {}
    for dataset, (num_labels, image_size) in SIZES.items():
        published = read_nasbench201(arguments.table, dataset)
        config = NasBench201SupernetConfig(num_labels=num_labels, image_size=image_size)
        networks = NasBench201SupernetForImageClassification(config).final
        sizes = [len(choice.candidates) for choice in published.space.choices]
        codes = np.indices(sizes, dtype=np.uint8).reshape(len(sizes), -1).T
        for table in (macs_table(networks), params_table(networks)):
            counted, looked_up = table.of_codes(codes), published.costs[table.name].of_codes(codes)
            bias = num_labels if table.name == "macs" else 0
            equal = int(np.sum(counted == np.rint(looked_up) - bias))
            figures[f"{dataset}/{table.name}"] = equal
            print(
                f"{dataset:>14}  {table.name:>6}: {counted.min():,.0f} to {counted.max():,.0f}; "
                f"{equal:,} of {len(codes):,} as published",
                flush=True,
            )
    print("RESULT", json.dumps(figures))


if __name__ == "__main__":
    main()
