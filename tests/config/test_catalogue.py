"""Models, strategies, presets and data sets by name, and the files that hold their settings."""

import pytest

from recbole_ccd.config import CCDConfig
from recbole_ccd.config.catalogue import general_models, names_of, properties_dir
from tests.config.refused import refused


def test_ccd_as_a_model_is_the_default_student():
    assert CCDConfig(argv=["--model=CCD"])["model"] == "LightGCN"
    assert CCDConfig(model="CCD", argv=["--strategy=ccd"]).model == "LightGCN"


@pytest.mark.parametrize("model", ["BPR", "MultiVAE", "NeuMF", "EASE", "Pop"])
def test_other_general_and_traditional_students(model):
    config = CCDConfig(model=model)
    assert config["model"] == model == config.model_class.__name__
    knows_size = model in ("BPR",)
    assert config["embedding_size"] == (8 if knows_size else None)


def test_a_model_class_is_taken_as_it_is():
    from recbole.model.general_recommender import BPR

    class Mine(BPR):
        pass

    config = CCDConfig(model=Mine)
    assert config.model_class is Mine and config["model"] == "Mine"


@pytest.mark.slow
def test_every_properties_file_is_valid_for_every_student():
    for dataset in names_of("dataset"):
        for strategy in names_of("strategy"):
            for preset in [None, *names_of("preset")]:
                for model in ("LightGCN", "MultiVAE"):
                    settings = {"strategy": strategy, "preset": preset}
                    config = CCDConfig(model, dataset, config_dict=settings)
                    assert config["strategy"] == strategy


def test_every_key_of_ours_is_explained_where_its_default_stands():
    for path in properties_dir().rglob("*.yaml"):
        if path.parent.name in ("preset", "ablation"):
            continue
        for line in path.read_text(encoding="utf-8").splitlines():
            if line and line[0].isalpha():
                assert "# (" in line, f"{path.name}: {line}"


@pytest.mark.parametrize("name", ["LightGNC", "lightgcn", "../LightGCN", "recbole.x", ""])
def test_unknown_models_name_the_nearest(name):
    near = name.lower() == "lightgcn" or name == "LightGNC"
    remedy = "did you mean 'LightGCN'?" if near else "choose a general recommender such as LightGCN"
    refused(remedy, config_dict={"model": name})
    refused("teacher_models", config_dict={"teacher_models": ["LightGCN", name or "-"]})
    if name.lower().startswith("lightg"):
        refused("'LightGCN'", "command line", argv=[f"--model={name}"])


@pytest.mark.parametrize("name", ["GRU4Rec", "AFM", "CKE"])
def test_models_that_are_not_general_are_refused(name):
    refused(name, "general recommender", model=name)


def test_other_names():
    refused("strategy", "'cdc'", "ccd", argv=["--strategy=cdc"])
    refused("preset", "'nothing'", config_dict={"preset": "nothing"})
    refused("dataset", config_dict={"dataset": 3})
    refused("model", config_dict={"model": 3})
    assert {"LightGCN", "BPR", "MultiVAE"} <= set(general_models())
