import torch
from recbole.data.interaction import Interaction
from recbole.model.general_recommender import DGCF as RecBoleDGCF

from recbole_ccd.model.dgcf import DGCF
from recbole_ccd.model.growth import build
from recbole_ccd.strategy.fine_tune import FineTune
from recbole_ccd.utils.seeding import seed_stage
from tests.strategy.runs import follow

SIZES = {"embedding_size": 8, "n_factors": 2}


def test_no_more_are_drawn_than_there_are(tiny_stream, make_config):
    config = make_config("DGCF", train_batch_size=10_000, **SIZES)
    model = build(config, tiny_stream[0])
    assert type(model) is DGCF and model.n_users != model.n_items
    assert model.cor_batch_size == min(model.n_users, model.n_items)
    ids = torch.arange(1, 9)
    batch = Interaction({"user_id": ids, "item_id": ids, "neg_item_id": ids + 9})
    assert torch.isfinite(model.calculate_loss(batch)).all()


def test_a_block_of_one_batch_is_learned(make_config):
    keys = {"strategy": "fine_tune", "base": "plain", "train_batch_size": 10_000}
    strategy = follow(make_config("DGCF", **keys, **SIZES), FineTune)
    assert len(strategy.result.stages) == 3


def test_where_there_are_enough_it_is_recboles(tiny_stream, make_config):
    config, block = make_config("DGCF", train_batch_size=100, **SIZES), tiny_stream[0]
    models = []
    for kind in (DGCF, RecBoleDGCF):
        seed_stage(3, True, "dgcf")
        models.append(kind(config, block.model_data(config)))
    ours, theirs = models
    assert ours.cor_batch_size == theirs.cor_batch_size
    for name, value in ours.state_dict().items():
        assert value.equal(theirs.state_dict()[name])
