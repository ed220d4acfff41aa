import inspect
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from transformers import AutoBackbone, AutoConfig, AutoModel, AutoModelForImageClassification

import searchhub
from searchhub import _auto_classes
from searchhub.models.mobile.configuration_mobile import SearchedMobileConfig

from .public_names import STUB, stub

PUBLIC = """
    Architecture ArchitectureDistribution BertSupernetConfig BertSupernetForSequenceClassification Budget
    CandidateFeatures ChannelCnnSupernet ChannelCnnSupernetConfig Choice Clusters Condition CostTable DCSearcher
    DCSupernetSearcher DDPSearcher DartsSupernetConfig DartsSupernetForImageClassification Evaluator
    EvolutionSearcher ExportReport FBNetSupernetConfig FBNetSupernetForImageClassification Genotype GlueTask
    ImageTask LatencyTable Limit MixtureSettings MixtureTrainer MobileSupernetConfig
    MobileSupernetForImageClassification NasBench201SupernetConfig NasBench201SupernetForImageClassification Network
    NetworkEvaluator NetworkTrainer OriginalTrainer PublishedRevision RandomSearcher ScratchEvaluator SearchCallback
    SearchResult SearchSpace SearchedBertConfig SearchedBertForSequenceClassification SearchedBertModel
    SearchedChannelCnnConfig SearchedChannelCnnForImageClassification SearchedChannelCnnModel SearchedDartsBackbone
    SearchedDartsConfig SearchedDartsForImageClassification SearchedDartsModel SearchedFBNetBackbone
    SearchedFBNetConfig SearchedFBNetForImageClassification SearchedFBNetModel SearchedMobileBackbone
    SearchedMobileConfig SearchedMobileForImageClassification SearchedMobileModel SearchedNasBench201Backbone
    SearchedNasBench201Config SearchedNasBench201ForImageClassification SearchedNasBench201Model Searcher Supernet
    SupernetEvaluator TabularEvaluator Task TextTask TrainedNetwork TrainingSettings Trial TrialResult
    WarmupSearcher Window as_plain_bert bert_space best_of channels_space cluster_codes cluster_features darts_space
    derive export_onnx fbnet_space fit generate generate_measured glue_average load_glue_task load_image_task
    load_text_task load_trainer macs_table make_accelerator measure_latency mobile_space most_probable
    nasbench201_space non_parameter_table order_by_importance over_k over_k_features params_table pareto
    pruning_confidence publish read_proxyless_table sample_within save_model_folder save_trainer search
    winners_in_order write_report DartsSupernetForSemanticSegmentation MobileSupernetForSemanticSegmentation
    SearchedDartsForSemanticSegmentation SearchedMobileForSemanticSegmentation
"""

SMALL = {"stage_widths": [8], "stage_depths": [1], "stage_strides": [1], "stem_width": 8, "first_width": 8}


def in_fresh_process(script):
    """What a script, that ends by printing JSON, says; and the CPU seconds it took."""
    ending = (
        "\nimport resource; usage = resource.getrusage(resource.RUSAGE_SELF); print(usage.ru_utime + usage.ru_stime)"
    )
    done = subprocess.run([sys.executable, "-c", script + ending], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    *_, said, seconds = done.stdout.splitlines()
    return json.loads(said), float(seconds)


# -- importing --------------------------------------------------------------------------------------------------------


def test_import_brings_nothing_heavy_and_is_quick():
    heavy = ("torch", "transformers", "accelerate", "datasets", "evaluate", "sklearn", "scipy", "matplotlib", "PIL")
    loaded, seconds = in_fresh_process(
        f"import json, sys\nimport searchhub\nprint(json.dumps([m for m in {heavy!r} if m in sys.modules]))"
    )
    assert loaded == []
    assert seconds < 2  # about 0.25; torch alone takes 2, transformers' models 4 more


def test_all_public_names_are_what_they_say():
    assert searchhub.__all__ == sorted(set(searchhub.__all__))
    for name in searchhub.__all__:
        value = getattr(searchhub, name)
        assert value.__name__ == name
        assert value.__module__.startswith("searchhub.")
        assert inspect.getdoc(value), name
    assert set(searchhub.__all__) <= set(dir(searchhub))
    assert len(set(searchhub.__dir__())) == len(searchhub.__dir__())


def test_no_public_name_has_gone():
    """The list may grow. Code of others imports these names."""
    gone = set(PUBLIC.split()) - set(searchhub.__all__)
    assert not gone


def test_no_name_is_declared_twice():
    declared = [name for name, _ in searchhub._declared()]
    assert len(set(declared)) == len(declared)
    assert not set(declared) & set(searchhub._HOMES)


def test_type_checkers_see_the_same_names():
    """What they read is what is imported when a name is used: run `python tests/public_names.py` where this fails."""
    assert STUB.read_text(encoding="utf-8") == stub()


def test_a_family_and_a_space_are_public_by_being_there(tmp_path):
    """No file of the package names them: a copy of it, with two more files, offers what they declare."""
    package = tmp_path / "searchhub"
    shutil.copytree(Path(searchhub.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
    (package / "spaces" / "toy.py").write_text('__all__ = ["toy_space"]\ndef toy_space(): return "a space"\n')
    family = package / "models" / "toy"
    family.mkdir()
    (family / "__init__.py").write_text(
        'AUTO_CLASSES = {"AutoConfig": "configuration_toy.ToyConfig"}\nPUBLIC = ("supernet_toy.ToySupernet",)\n'
    )
    for module, name in (("configuration_toy", "ToyConfig"), ("supernet_toy", "ToySupernet")):
        (family / f"{module}.py").write_text(f"class {name}: pass\n")
    script = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import json, searchhub as sh\n"
        "assert not hasattr(sh, 'unheard')\n"
        "print(json.dumps([sh.toy_space(), sh.ToyConfig.__module__, 'ToySupernet' in sh.__all__]))"
    )
    said, _ = in_fresh_process(script)
    assert said == ["a space", "searchhub.models.toy.configuration_toy", True]


def test_star_import_and_unknown_names():
    names = {}
    exec("from searchhub import *", names)
    assert set(searchhub.__all__) <= set(names)
    with pytest.raises(AttributeError, match="module `searchhub` has no attribute `nothing`"):
        _ = searchhub.nothing
    with pytest.raises(ImportError, match="cannot import name 'nothing'"):
        exec("from searchhub import nothing")


# -- registering ------------------------------------------------------------------------------------------------------

BUILD = """
import json, sys
from transformers import AutoBackbone, AutoConfig, AutoModel, AutoModelForImageClassification
config = AutoConfig.for_model("searched_mobile", stage_widths=[8], stage_depths=[1], stage_strides=[1])
kinds = [AutoModel, AutoModelForImageClassification, AutoBackbone]
print(json.dumps([type(config).__name__, *(type(kind.from_config(config)).__name__ for kind in kinds)]))
"""
CLASSES = [
    "SearchedMobileConfig",
    "SearchedMobileModel",
    "SearchedMobileForImageClassification",
    "SearchedMobileBackbone",
]


@pytest.mark.slow
@pytest.mark.parametrize(
    "first", ["searchhub.models.bert.configuration_bert", "transformers.models.bert.modeling_bert"]
)
def test_whichever_module_is_imported_first(first):
    """A family may build on classes of transformers, whose import loads the Auto modules on its way."""
    names, _ = in_fresh_process(f"import searchhub\nimport {first}\n" + BUILD)
    assert names == CLASSES


@pytest.mark.slow
def test_registers_what_is_known_at_once_and_the_rest_when_it_comes():
    """`import searchhub` before anything else: tests/hub/test_folder.py; after everything: below."""
    names, _ = in_fresh_process("from transformers import AutoConfig\nimport searchhub\n" + BUILD)
    assert names == CLASSES


def test_here():
    config = AutoConfig.for_model("searched_mobile", **SMALL)
    assert isinstance(config, SearchedMobileConfig)
    kinds = (AutoModel, AutoModelForImageClassification, AutoBackbone)
    assert [type(kind.from_config(config)).__name__ for kind in kinds] == CLASSES[1:]


def test_every_family_names_classes_that_exist():
    families = list(_auto_classes.families())
    assert "searchhub.models.mobile" in [family.__name__ for family in families]
    for family in families:
        for path in (*family.AUTO_CLASSES.values(), *family.PUBLIC):
            loaded = _auto_classes._load(family, path)
            assert loaded.__module__ == f"{family.__name__}.{path.split('.')[0]}", path
        # As a published folder says them: files beside it, never deeper.
        assert all(path.count(".") == 1 for path in family.AUTO_CLASSES.values())


def test_registering_again_changes_nothing():
    before = list(sys.meta_path)
    _auto_classes.install()
    assert sys.meta_path == before  # nothing is left to wait for
    test_here()


def test_watching_an_import_leaves_no_trace(tmp_path, monkeypatch):
    """The module is found, loaded and read as if nobody had waited for it."""
    (tmp_path / "waited_for.py").write_text("VALUE = 1\n")
    (tmp_path / "other.py").write_text("import waited_for\nVALUE = 2\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(_auto_classes, "WATCHED", ("waited_for", "other"))
    said = []

    def say():
        said.append((sys.modules["waited_for"].VALUE, sys.modules["other"].VALUE))

    watcher = _auto_classes._Watch([("waited_for", say)])
    monkeypatch.setattr(sys, "meta_path", [watcher, *sys.meta_path])
    for name in ("waited_for", "other"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    import other
    import waited_for

    assert said == [(1, 2)]  # not while the other was half imported
    assert type(waited_for.__loader__) is type(waited_for.__spec__.loader) is type(other.__loader__)
    assert inspect.getsource(waited_for) == "VALUE = 1\n"
    monkeypatch.delitem(sys.modules, "waited_for")
    import waited_for

    assert said == [(1, 2)]  # once


def test_a_module_that_is_not_there(monkeypatch):
    monkeypatch.setattr(_auto_classes, "WATCHED", ("no_such_module_at_all",))
    watcher = _auto_classes._Watch([("no_such_module_at_all", lambda: None)])
    monkeypatch.setattr(sys, "meta_path", [watcher, *sys.meta_path])
    with pytest.raises(ModuleNotFoundError):
        __import__("no_such_module_at_all")
