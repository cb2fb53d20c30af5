"""The models that follow a stream in the tests, at sizes that train in a moment."""

import torch

from recbole_ccd.model.growth import build
from recbole_ccd.model.scoring import score_rows

SMALL_MODELS = {
    "BPR": {"embedding_size": 8},
    "LightGCN": {"embedding_size": 8},
    "NGCF": {"embedding_size": 8, "hidden_size_list": [8, 8]},
    "SGL": {"embedding_size": 8, "n_layers": 2},
    "NeuMF": {"mf_embedding_size": 8, "mlp_embedding_size": 8, "mlp_hidden_size": [8]},
    "DMF": {
        "user_embedding_size": 8,
        "item_embedding_size": 8,
        "user_hidden_size_list": [8],
        "item_hidden_size_list": [8],
    },
    "ENMF": {"embedding_size": 8},
    "MultiVAE": {"mlp_hidden_size": [16], "latent_dimension": 8},
    "RecVAE": {"hidden_dimension": 16, "latent_dimension": 8},
    "CDAE": {"embedding_size": 8},
}


def small_model(make_config, name, block, seed=0, **keys):
    """Configuration and model, in eval mode, with weights large enough to tell scores apart."""
    config = make_config(name, **{**SMALL_MODELS[name], **keys})
    torch.manual_seed(seed)
    model = build(config, block)
    scatter(model, seed)
    return config, model.eval()


def scatter(model, seed=0, scale=0.3):
    """Replaces all floating weights by normal ones."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for value in model.state_dict().values():
            if value.is_floating_point():
                value.copy_(torch.randn(value.shape, generator=generator) * scale)


def state_of(model):
    """A copy of all weights."""
    return {name: value.clone() for name, value in model.state_dict().items()}


def all_scores(model):
    """Scores of all users and items in eval mode, without gradients."""
    model.eval()
    with torch.no_grad():
        return score_rows(model, torch.arange(model.n_users)).clone()
