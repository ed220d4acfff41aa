"""Parameters and multiply-adds of all 6,561 networks, counted from the models here, against the published table.

python benchmarks/nasbench_macro_costs.py --table path/to/nas-bench-macro_cifar10.json
"""

from __future__ import annotations

import argparse
import json

import numpy as np

from searchhub import (
    NasBenchMacroSupernetConfig,
    NasBenchMacroSupernetForImageClassification,
    macs_table,
    params_table,
)
from searchhub.evaluators.tabular import read_nasbench_macro


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", required=True, help="nas-bench-macro_cifar10.json, or the folder that holds it")
    arguments = parser.parse_args()
    published = read_nasbench_macro(arguments.table)
    networks = NasBenchMacroSupernetForImageClassification(NasBenchMacroSupernetConfig(num_labels=10))
    sizes = [len(choice.candidates) for choice in published.space.choices]
    codes = np.indices(sizes, dtype=np.uint8).reshape(len(sizes), -1).T
    figures = {}
    for table in (macs_table(networks), params_table(networks)):
        counted, looked_up = table.of_codes(codes), published.costs[table.name].of_codes(codes)
        figures[table.name] = int(np.sum(counted == looked_up))
        print(
            f"{table.name:>6}: {counted.min():,.0f} to {counted.max():,.0f}; "
            f"{figures[table.name]:,} of {len(codes):,} as published",
            flush=True,
        )
    print("RESULT", json.dumps({**figures, "networks": len(codes)}))


if __name__ == "__main__":
    main()
