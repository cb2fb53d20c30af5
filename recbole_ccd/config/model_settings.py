"""What each setting of each of RecBole's general recommenders may be: a table of checks.

The bounds are those of the models' own code: beyond them a model fails, some only after hours of training.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from types import MappingProxyType

from recbole_ccd.config.catalogue import model_keys
from recbole_ccd.config.conditions import BOOLEAN, Check, choice, has, integer, list_of, number

# nobody needs a larger factor, and its square can still be held by a float of 32 bits
_LARGEST = 1e12
# exp(1 / temperature), summed over a billion entities, can still be held by one
_COLDEST = 0.015
# a divisor smaller than this makes infinity out of a loss
_SMALLEST = 1e-6


def _list_or_empty(check: Check) -> Check:
    filled = list_of(check)
    return Check(f"{filled.allowed}, or []", lambda value: value == [] or filled.accepts(value))


def _exactly(count: int, check: Check) -> Check:
    filled = list_of(check)
    return Check(
        f"a list of {count} entries, each {check.allowed}",
        lambda value: filled.accepts(value) and len(value) == count,
    )


def _no_file(nothing: object) -> Check:
    """RecBole would unpickle the file, which runs any code that somebody has put there."""
    shown = "~" if nothing is None else repr(nothing)
    return Check(
        f"{shown}, as RecBole would run what code is in that file",
        lambda value: type(value) is type(nothing) and value == nothing,
        is_text=nothing is not None,
        exclusive=nothing is not None,
    )


_SIZE = integer(1)
_COUNT = integer(0)
_WEIGHT = number(0, _LARGEST)
_POSITIVE = number(_SMALLEST, _LARGEST)
_SHARE = number(0, 1)
_TEMPERATURE = number(_COLDEST, _LARGEST)
_SIZES = list_of(_SIZE)
_SIZES_OR_NONE = _list_or_empty(_SIZE)
# RecBole's names of layers; "none" takes the last linear layer away with the activation that is not there
_ACTIVATION = choice("sigmoid", "tanh", "relu", "leakyrelu", "dice", any_case=True)
# these divide by the share that is kept
_DROPPED_EDGES = Check("a number >= 0 and < 1", lambda value: _SHARE.accepts(value) and value < 1)
# the encoder's output is cut into halves
_HALVES = Check("an even integer >= 2", lambda value: _SIZE.accepts(value) and value % 2 == 0)
_FIRST_IS_ONE = Check(
    "a list of entries, each an integer >= 1, the first one 1",
    lambda value: _SIZES.accepts(value) and value[0] == 1,
)
# whole numbers are raised to it, which torch refuses with another whole number
_POWER = Check(
    f"{_WEIGHT.allowed}, with a point in it",
    lambda value: _WEIGHT.accepts(value) and (isinstance(value, float) or value == 0),
)
_MIXTURE = Check(
    f"a list of 3 entries, each {_WEIGHT.allowed}, not all of them 0",
    lambda value: _exactly(3, _WEIGHT).accepts(value) and any(value),
)
_NEIGHBOURS = Check(
    "random, or louvain if networkx and python-louvain are installed",
    lambda value: value == "random" or (value == "louvain" and has("networkx") and has("community")),
    True,
    True,
)

_COMMON: dict[str, Check] = {
    # sizes and counts
    "embedding_size": _SIZE,
    "user_embedding_size": _SIZE,
    "item_embedding_size": _SIZE,
    "mf_embedding_size": _SIZE,
    "mlp_embedding_size": _SIZE,
    "ui_embedding_size": _SIZE,
    "neigh_embedding_size": _SIZE,
    "latent_dimension": _SIZE,
    "hidden_dimension": _SIZE,
    "gcn_output_dim": _SIZE,
    "weight_size": _SIZE,
    "n_layers": _COUNT,
    "hyper_layers": _COUNT,
    "n_factors": _SIZE,
    "n_iterations": _SIZE,
    "kfac": _SIZE,
    "num_basis_functions": _SIZE,
    # a loss of two classes, and the score is the second one's
    "class_num": integer(2),
    "num_conv_kernel": _SIZE,
    "conv_kernel_size": _SIZE,
    "pool_kernel_size": _SIZE,
    "neigh_num": _SIZE,
    "num_clusters": _SIZE,
    "history_len": _SIZE,
    "history_num_per_term": _SIZE,
    "metrics_k": _SIZE,
    "k": _SIZE,
    "rank": _SIZE,
    # the scores, which may be in the hundreds, are raised to it
    "q": integer(1, 10),
    "split_to": _COUNT,
    "steps": _SIZE,
    "sampling_steps": _COUNT,
    # RecBole would unpickle the items' embeddings, which it clusters
    "n_cate": Check("1, as RecBole would run what code is in item_emb.npy", choice(1).accepts),
    "mlp_hidden_size": _SIZES_OR_NONE,
    "encoder_hidden_size": _SIZES_OR_NONE,
    "hidden_size_list": _SIZES_OR_NONE,
    "user_hidden_size_list": _SIZES,
    "item_hidden_size_list": _SIZES,
    "critic_layers": _SIZES_OR_NONE,
    "dims_dnn": _SIZES_OR_NONE,
    "in_dims": _SIZES,
    "out_dims": _SIZES_OR_NONE,
    "cnn_channels": _FIRST_IS_ONE,
    "cnn_kernels": _SIZES_OR_NONE,
    "cnn_strides": _SIZES_OR_NONE,
    # rounds of training
    "total_anneal_steps": _COUNT,
    "anneal_steps": _COUNT,
    "vae_anneal_steps": _COUNT,
    "n_enc_epochs": _SIZE,
    "n_dec_epochs": _COUNT,
    "pretrain_epochs": _SIZE,
    "save_step": _SIZE,
    "m_step": _SIZE,
    "warm_up_step": _COUNT,
    # weights of terms, and other factors
    "reg_weight": _WEIGHT,
    "reg_weight_1": _WEIGHT,
    "reg_weight_2": _WEIGHT,
    "reg_weights": _exactly(2, _WEIGHT),
    "cor_weight": _WEIGHT,
    "ssl_weight": _WEIGHT,
    "ssl_reg": _WEIGHT,
    "proto_reg": _WEIGHT,
    "negative_weight": _WEIGHT,
    "second_order_loss_weight": _WEIGHT,
    "anneal_cap": _WEIGHT,
    "vae_anneal_cap": _WEIGHT,
    "lamda": _WEIGHT,
    "lambda1": _WEIGHT,
    "lambda2": _WEIGHT,
    "rho": _POSITIVE,
    "shrink": _WEIGHT,
    "std": _WEIGHT,
    "resolution": _POSITIVE,
    "mixture_weights": _MIXTURE,
    "noise_scale": _WEIGHT,
    "noise_min": _WEIGHT,
    "noise_max": _WEIGHT,
    "w_max": _WEIGHT,
    "w_min": _WEIGHT,
    # a cosine
    "margin": number(-1, 1),
    "l1_ratio": _SHARE,
    # temperatures
    "tau": _TEMPERATURE,
    "ssl_tau": _TEMPERATURE,
    "ssl_temp": _TEMPERATURE,
    # probabilities
    "dropout_prob": _SHARE,
    "dropout": _SHARE,
    "message_dropout": _SHARE,
    "node_dropout": _DROPPED_EDGES,
    "corruption_ratio": _SHARE,
    "drop_ratio": _SHARE,
    # one of several
    "type": choice("ED", "ND", "RW"),
    "loss_type": choice("BCE", "MSE"),
    "hid_activation": choice("sigmoid", "relu", "tanh"),
    "out_activation": choice("sigmoid", "relu"),
    "mlp_act_func": _ACTIVATION,
    "ae_act_func": _ACTIVATION,
    "knn_method": choice("item", "user"),
    "inter_matrix_type": Check("'01', in quotes, or rating", choice("01", "rating").accepts, True, True),
    "accum": choice("stack", "sum"),
    "order": choice(1, 2),
    "algorithm": choice("prod", "concat"),
    "neigh_info_method": _NEIGHBOURS,
    "aggregator": choice("mean", "user_attention", "self_attention"),
    "noise_schedule": choice("linear", "linear-var", "cosine", "binomial"),
    "mean_type": choice("x0", "eps"),
    # a model's training before it, which others unpickle
    "train_method": choice("no_pretrain"),
    "train_stage": choice("actor_pretrain"),
    "use_pretrain": choice(False),
    "pre_model_path": _no_file(""),
    "pretrain_path": _no_file(None),
    "mf_pretrain_path": _no_file(None),
    "mlp_pretrain_path": _no_file(None),
    # truth values
    **dict.fromkeys(
        ("positive_only", "center_columns", "hide_item", "sparse_feature", "nogb", "mf_train", "mlp_train"),
        BOOLEAN,
    ),
    **dict.fromkeys(("sampling_noise", "reweight", "beta_fixed", "reparam"), BOOLEAN),
    # what it would change is replaced by the rows that we read
    "time-aware": Check("False, as users' rows are read without times", lambda value: value is False),
}
# where a key means another thing, or has closer bounds, than in the other models
_OWN: dict[str, dict[str, Check]] = {
    "ADMMSLIM": {"alpha": _WEIGHT},
    "AsymKNN": {"alpha": _SHARE, "beta": _SHARE},
    # half of it are sines, half of it cosines
    "DiffRec": {"embedding_size": integer(2)},
    "LDiffRec": {"embedding_size": integer(2)},
    "KD_DAGFM": {
        # RecBole evaluates this text
        "teacher": choice("CrossNet", "CIN"),
        "phase": Check(
            "teacher_training, as all three phases are trained one after the other",
            choice("teacher_training").accepts,
            True,
            True,
        ),
        "type": choice("inner", "outer"),
        "depth": _SIZE,
        "t_depth": _SIZE,
        "t_cin": _SIZES,
        "alpha": _WEIGHT,
        "beta": _WEIGHT,
        "warm_up": _no_file(""),
    },
    # [PAD] has no interactions, so that the matrix it inverts is singular without it
    "EASE": {"reg_weight": _POSITIVE},
    "FISM": {"alpha": _POWER},
    # normalises over the batch, so that a layer there must be
    "DCNV2": {
        "mixed": BOOLEAN,
        "structure": choice("stacked", "parallel"),
        "cross_layer_num": _COUNT,
        "expert_num": _SIZE,
        "low_rank": _SIZE,
        "mlp_hidden_size": _SIZES,
    },
    "DeepFM": {"mlp_hidden_size": _SIZES},
    "GCMC": {"dropout_prob": _DROPPED_EDGES},
    "MultiVAE": {"latent_dimension": _HALVES},
    "NAIS": {"alpha": _POWER, "beta": _SHARE, "reg_weights": _exactly(3, _WEIGHT)},
    "NCEPLRec": {"beta": _WEIGHT},
    "NCL": {"alpha": _WEIGHT},
    # of one column it makes a view that torch refuses
    "NNCF": {"mlp_hidden_size": _SIZES, "neigh_embedding_size": integer(2)},
    "RaCT": {"latent_dimension": _HALVES},
    "RecVAE": {"beta": _WEIGHT, "gamma": _WEIGHT},
    "SLIMElastic": {"alpha": _WEIGHT},
    "SimpleX": {"gamma": _SHARE},
}


@functools.cache
def model_checks(model: str) -> Mapping[str, Check]:
    """The checks of the keys that only some models have, for one of RecBole's general recommenders.

    Args:
        model: its name; of a class of the user's the one whose keys it has.

    Returns:
        A check for each of its keys; none for a model that is no general recommender of RecBole's.
    """
    checks = _COMMON | _OWN.get(model, {})
    return MappingProxyType({key: checks[key] for key in sorted(model_keys(model)) if key in checks})


def usual_check(key: str) -> Check | None:
    """What a key of models may be where it means the same in all of them."""
    return _COMMON.get(key)
