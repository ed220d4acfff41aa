import pytest

from .bert_cases import RECIPE, SMALLEST, write_material
from .harness import Run, made_once, started_by_a_user, words


@pytest.fixture(scope="session")
def bert_once(tmp_path_factory):
    """A folder with checkpoint, data and a finished run of the recipe for BERT; and what that said."""

    def start(root):
        write_material(root)
        argv = ["--model_name_or_path=checkpoint", "--data_dir=glue", *words(SMALLEST), "--output_dir=run"]
        return started_by_a_user([RECIPE, *argv], root)

    return made_once(tmp_path_factory, "ddp_bert", start)


@pytest.fixture
def run(context, bert_once):
    """Starts the recipe for BERT in a forked process; settings in `without` are left out."""
    root, _ = bert_once
    settings = {"model_name_or_path": root / "checkpoint", "data_dir": root / "glue", **SMALLEST}

    def start(folder, *argv, without=(), **options):
        given = words({name: value for name, value in settings.items() if name not in without})
        return Run(context, RECIPE, folder, *given, *argv, **options)

    return start


@pytest.fixture
def finish(run):
    """Runs the recipe for BERT to the end, as it should; what it said."""

    def to_the_end(folder, *argv, **options):
        code, said = run(folder, *argv, **options).end()
        assert code == 0, said
        return said

    return to_the_end
