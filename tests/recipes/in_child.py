"""Runs a recipe as `python recipe.py …` would, in a process that has the heavy imports done; for test_ddp_mobile.py."""

import json
import os
import runpy
import subprocess
import sys
from pathlib import Path

import searchhub


def main(recipe, argv, log, env, outcome):
    """Run it.

    Args:
        recipe: Path of the script.
        argv: Its arguments.
        log: File for all that it says.
        env: Variables to set.
        outcome: File for what the search hands to this process; None: not told.
    """
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(file, 1)
    os.dup2(file, 2)
    os.environ.update(env)
    sys.argv = [recipe, *argv]
    # What a fresh process makes of the folders is seen once, in the run that is started as a user does.
    subprocess.run = lambda command, **_: subprocess.CompletedProcess(command, 0)
    if outcome:
        search = searchhub.search

        def telling(*arguments, **options):
            result = search(*arguments, **options)
            Path(outcome).write_text(json.dumps(result.to_dict()))
            return result

        searchhub.search = telling
    runpy.run_path(recipe, run_name="__main__")


if __name__ == "__main__":
    main(**globals()["request"])  # as `runpy` was told
