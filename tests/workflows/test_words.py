from searchhub.generation import generate
from searchhub.generation.limits import table_of
from searchhub.space import Choice, SearchSpace
from searchhub.workflows.words import PREDICTION, TABLE, for_commands, for_recipes

from ..generation.conftest import Search


def said_by(call):
    try:
        call()
    except ValueError as error:
        return str(error)
    raise AssertionError("it must fail")


def test_what_the_library_says_of_a_missing_table_is_said_in_options():
    space = SearchSpace("s", (Choice("a", ("x",)),))
    message = said_by(lambda: table_of("latency_ms", space, {}))
    assert TABLE in message
    assert for_commands(message).endswith("give the file: `--latency FILE`.")
    assert "searchhub train RUN --latency FILE" in for_recipes(message)


def test_keywords_are_options():
    message = said_by(lambda: generate(Search(0, costs=("real",)).result, objective="predicted"))
    assert PREDICTION in message
    assert for_commands(message).startswith("`--objective predicted` must come with")
    assert for_recipes(message).endswith("Search with `--scored`, or leave `--objective` out.")


def test_options_of_loaders_are_data_of_commands():
    message = "`--dataset birds` must be a folder; see `--image_size`, `--mixed-precision` and `--max`."
    assert for_commands(message) == (
        "`--data dataset=birds` must be a folder; see `--data image_size=…`, `--mixed-precision` and `--max`."
    )
    assert for_recipes(message) == message
