"""Context-aware models: what they read, what they score, and the phases of KD_DAGFM."""

import pytest
import torch
from recbole.data.interaction import Interaction
from recbole.model.context_aware_recommender.dcnv2 import DCNV2 as RecBoleDCNV2
from recbole.model.context_aware_recommender.kd_dagfm import DAGFM

from recbole_ccd.config.catalogue import CONTEXT_MODELS, model_defaults, model_keys
from recbole_ccd.config.model_settings import model_checks
from recbole_ccd.data.context_fields import renumbered
from recbole_ccd.model.context import PHASES, OpenSettings, follow_device
from recbole_ccd.model.growth import build
from recbole_ccd.model.scoring import score_rows, scores_pairs_only
from recbole_ccd.quick_start import create_stream
from tests.config.refused import refused


@pytest.fixture(scope="module")
def made(make_config):
    """A model on the first block of the tiny stream, with its configuration."""

    def made(model, **keys):
        config = make_config(model, strategy="full_batch", **keys)
        torch.manual_seed(3)
        return build(config, create_stream(config)[0]).eval(), config

    return made


def test_dagfm_is_the_sum_over_the_graph_by_hand():
    # states 2, 3, then 2 * 2 = 4 and 3 * (2 + 3) = 15
    settings = {"type": "inner", "depth": 1, "feature_num": 2, "embedding_size": 1}
    network = DAGFM(settings)
    follow_device(network, torch.device("cpu"))
    with torch.no_grad():
        network.p[0].fill_(1.0)
        network.linear.weight.fill_(0.1)
        network.linear.bias.zero_()
        network.FeatureInteraction(torch.tensor([[[2.0], [3.0]]]))
    assert network.logits.item() == pytest.approx(2.4)


def test_the_mask_of_dagfm_goes_where_the_model_goes():
    network = DAGFM({"type": "inner", "depth": 1, "feature_num": 3, "embedding_size": 2})
    follow_device(network, torch.device("cpu"))
    assert network.adj_matrix[..., 0].equal(torch.ones(3, 3).triu())
    assert network.to("meta").adj_matrix.device.type == "meta"
    assert "adj_matrix" not in network.state_dict()


def test_rows_of_fm_are_those_of_its_formula(made):
    model, _ = made("FM", embedding_size=4)
    assert scores_pairs_only(model) and model.num_feature_field == 2
    with torch.no_grad():
        scores = score_rows(model, torch.tensor([1, 5]))
        table, first = (
            part.token_embedding_table.embedding.weight for part in (model, model.first_order_linear)
        )
        users, items = torch.tensor([1, 5]), torch.arange(model.n_items) + model.n_users
        expected = table[users] @ table[items].T + first[users] + first[items].T
    torch.testing.assert_close(scores, expected + model.first_order_linear.bias)


@pytest.mark.parametrize("structure", ["stacked", "parallel"])
def test_dcnv2_scores_by_the_logit_of_recboles(made, structure):
    model, _ = made("DCNV2", mlp_hidden_size=[8], embedding_size=4, structure=structure)
    pairs = Interaction({"user_id": torch.tensor([1, 2, 3]), "item_id": torch.tensor([4, 5, 6])})
    with torch.no_grad():
        logits = model.predict(pairs)
        labelled = Interaction({**pairs.interaction, model.LABEL: torch.tensor([1.0, 0.0, 1.0])})
        loss = model.calculate_loss(labelled)
        model.sigmoid, model.loss = torch.nn.Sigmoid(), torch.nn.BCELoss()
        theirs = RecBoleDCNV2.forward(model, model.with_features(pairs))
        torch.testing.assert_close(theirs, logits.sigmoid())
        torch.testing.assert_close(model.calculate_loss(labelled), loss)
    assert not logits.equal(logits.sigmoid())


@pytest.mark.parametrize("teacher", ["CrossNet", "CIN"])
def test_each_phase_of_kd_dagfm_trains_its_own(made, teacher):
    model, config = made("KD_DAGFM", embedding_size=4, teacher=teacher, t_cin=[3])
    assert model.phase == "finetuning" and config["feature_num"] is None
    rows = Interaction(
        {
            "user_id": torch.tensor([1, 2]),
            "item_id": torch.tensor([4, 5]),
            model.LABEL: torch.tensor([1.0, 0.0]),
        }
    )
    moved = {}
    for phase in PHASES:
        model.phase = phase
        model.train().zero_grad()
        model.calculate_loss(rows).backward()
        moved[phase] = {
            name.partition(".")[0]
            for name, weight in model.named_parameters()
            if weight.grad is not None and weight.grad.abs().sum() > 0
        }
    embedding = "token_embedding_table"
    assert moved == {
        "teacher_training": {embedding, "teacher_network"},
        "distillation": {"student_network"},
        "finetuning": {embedding, "student_network"},
    }
    with torch.no_grad():
        model.eval().phase = "teacher_training"
        of_teacher = model.predict(rows)
        model.phase = "finetuning"
        assert not model.predict(rows).equal(of_teacher)
        torch.testing.assert_close(model.forward(rows).flatten(), model.predict(rows).sigmoid())


def test_distillation_of_kd_dagfm_is_the_weighted_sum(made):
    model, _ = made("KD_DAGFM", embedding_size=4, alpha=0.5, beta=2.0)
    rows = Interaction({"user_id": torch.tensor([1, 2]), "item_id": torch.tensor([4, 5])})
    rows.update(Interaction({model.LABEL: torch.tensor([1.0, 0.0])}))
    model.phase = "distillation"
    loss = model.train().calculate_loss(rows)
    with torch.no_grad():
        model.eval()
        student = model.predict(rows)
        model.phase = "teacher_training"
        teacher = model.predict(rows)
    bce = torch.nn.functional.binary_cross_entropy_with_logits(student, rows[model.LABEL])
    torch.testing.assert_close(loss.detach(), 0.5 * bce + 2.0 * (teacher - student).square().mean())


def test_tokens_are_numbered_by_whom_they_come_with():
    assert renumbered(torch.tensor([0, 7, 3, 7, 0, 9]))[0].tolist() == [0, 1, 2, 1, 0, 3]
    wide, size = renumbered(torch.tensor([[0, 0, 0], [5, 0, 0], [2, 5, 0]]))
    assert (wide.tolist(), size) == ([[0, 0], [1, 0], [2, 1]], 3)
    # who comes later changes nothing
    later, _ = renumbered(torch.tensor([0, 7, 3, 7, 0, 9, 1, 2]))
    assert later[:6].tolist() == [0, 1, 2, 1, 0, 3]


def test_open_settings_are_as_recboles():
    settings = OpenSettings({"depth": 3})
    settings["own"] = 1
    assert (settings["nothing"], settings.final_config_dict["own"], "nothing" in settings) == (None, 1, False)


@pytest.mark.parametrize("model", CONTEXT_MODELS)
def test_every_key_has_a_check_that_its_default_passes(model):
    checks, defaults = model_checks(model), model_defaults(model)
    assert checks.keys() == model_keys(model)
    assert [key for key, value in defaults.items() if not checks[key].accepts(value)] == []


@pytest.mark.parametrize(
    ("key", "value"),
    [("phase", "distillation"), ("warm_up", "a.pth"), ("teacher", "print(1)"), ("type", "ED"), ("beta", -1)],
)
def test_what_kd_dagfm_would_run_or_load_is_refused(key, value):
    refused(f"{key} is ", "; give ", model="KD_DAGFM", config_dict={key: value, "strategy": "full_batch"})


def test_other_context_models_are_told_of_these():
    refused("AFM", "or one of DCNV2, DeepFM, FM, KD_DAGFM", model="AFM")
