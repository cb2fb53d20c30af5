"""Which models can be teacher and student, and which are refused before anything happens."""

import pytest

from recbole_ccd.quick_start import run_ccd
from recbole_ccd.trainer import StageTrainer
from recbole_ccd.utils.errors import ModelError
from tests.conftest import SMALL, SMALL_CCD, few
from tests.strategy.runs import follow, teachers

MEMBERS = ["BPR", "LightGCN", "NGCF", "SGL", "NeuMF", "DMF", "ENMF", "MultiVAE", "RecVAE", "CDAE"]
# each member once, each student once
RUNS = {
    "BPR": ["LightGCN", "RecVAE"],
    "LightGCN": ["NGCF", "CDAE"],
    "NGCF": ["SGL"],
    "SGL": ["NeuMF", "ENMF"],
    "NeuMF": ["DMF", "MultiVAE"],
    "ENMF": ["BPR"],
}
STUDENT_ARGS = {
    "NGCF": {"hidden_size_list": [8, 8]},
    "NeuMF": {"mf_embedding_size": 8, "mlp_embedding_size": 8, "mlp_hidden_size": [16, 8]},
}


def test_every_model_plays_its_role_once():
    assert sorted(member for members in RUNS.values() for member in members) == sorted(MEMBERS)


# students and members of every kind; that others grow and train is seen in tests/model and tests/trainer
@pytest.mark.parametrize("student", few(RUNS, "NeuMF"))
def test_models_play_their_role_through_two_blocks(make_config, tmp_path, monkeypatch, student):
    monkeypatch.chdir(tmp_path)
    keys = {**teachers(*RUNS[student]), **STUDENT_ARGS.get(student, {})}
    strategy = follow(make_config(student, block_ratios=[0.6, 0.4], **keys))
    assert type(strategy.student).__name__ == student
    assert [type(member).__name__ for member in strategy.teacher.members] == RUNS[student]
    for state in strategy.states:
        assert all(tensor.isfinite().all() for tensors in state.values() for tensor in tensors.values())
    before, after = strategy.states
    for name, tensors in before.items():
        assert any(tensors[key].shape != tensor.shape for key, tensor in after[name].items()), (
            f"{name} has not grown"
        )


@pytest.mark.parametrize(
    ("model", "role"),
    [(model, "student") for model in ("DMF", "MultiVAE", "RecVAE", "CDAE", "Pop", "EASE", "NCL")]
    + [(model, "teacher") for model in ("Pop", "EASE", "NCL")],
)
def test_models_that_cannot_play_a_role_are_refused_at_once(tiny_folder, tmp_path, monkeypatch, model, role):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(StageTrainer, "run", lambda *_: pytest.fail("something was trained"))
    keys = {**SMALL, **SMALL_CCD, "data_path": str(tiny_folder), "run_dir": str(tmp_path / "run")}
    if role == "teacher":
        keys |= {"teacher_models": ["BPR", model], "teacher_args": {}}
    with pytest.raises(ModelError, match=f"^model: {model} .* take LightGCN"):
        run_ccd(model if role == "student" else "LightGCN", "tiny", config_dict=keys)
    assert not list(tmp_path.iterdir())
