import torch
from recbole.data.interaction import Interaction

from recbole_ccd.model.growth import build
from recbole_ccd.model.pop import Pop


def test_items_are_counted_as_often_as_they_occur(tiny_stream, make_config):
    model = build(make_config("Pop"), tiny_stream[0])
    assert type(model) is Pop and len(model.item_cnt) == tiny_stream[0].n_items
    for items in ([3, 3, 5, 3], [5, 2]):
        loss = model.calculate_loss(Interaction({"item_id": torch.tensor(items)}))
        assert loss.tolist() == [0.0] and loss.requires_grad
    assert model.item_cnt[:6, 0].tolist() == [0, 0, 1, 3, 0, 2] and model.item_cnt.sum() == 6
    some = Interaction({"user_id": torch.tensor([1, 2]), "item_id": torch.tensor([3, 5])})
    torch.testing.assert_close(model.predict(some), torch.tensor([1.0, 2 / 3]))
    scores = model.full_sort_predict(some).view(2, -1)
    torch.testing.assert_close(scores[1, :6], torch.tensor([0, 0, 1, 3, 0, 2], dtype=torch.float64) / 3)
