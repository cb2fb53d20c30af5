"""Batches of known and new users and items."""

import torch
from recbole.data.interaction import Interaction


def batch_of(block, old_users=(3, 7, 7, 20), new_users=(50,)):
    """Pairs of some users, old items, a new item, and a new user."""
    users = torch.tensor([*old_users, *new_users])
    items = torch.tensor([1, 5, 5, block.n_items - 1, 9, 2, 4, 8])[: len(users)]
    return Interaction({"user_id": users, "item_id": items, "neg_item_id": torch.ones_like(items)})
