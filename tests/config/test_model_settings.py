"""Every key of every general recommender has a check, and its bounds are those of the model."""

import math

import pytest

from recbole_ccd.config import CCDConfig
from recbole_ccd.config.catalogue import general_models, model_defaults, model_keys
from recbole_ccd.config.model_settings import model_checks
from recbole_ccd.quick_start import create_stream
from recbole_ccd.strategy.full_batch import FullBatch
from recbole_ccd.utils.errors import CCDError
from tests.config.refused import refused
from tests.conftest import tiny_rows, write_inter

NO_NUMBER = ["8", None, True, [1], math.nan, math.inf]
NO_LIST = [3, "[3]", None, [[3]], [3.5], [0], [3, -1], [True]]
SIZE = [0, -1, 1.5, 2**63, *NO_NUMBER]
COUNT = [-1, 0.5, *NO_NUMBER]
WEIGHT = [-1e-9, 1.01e12, 1e308, *NO_NUMBER]
POSITIVE = [0, 1e-9, *WEIGHT]
TEMPERATURE = [0, 0.0149, *WEIGHT]
SHARE = [-1e-9, 1.0000001, 1.5, *NO_NUMBER]
EDGES_LEFT = [1, 1.0, *SHARE]
TWO_WEIGHTS = [[], [1], [1, 1, 1], [1, -1e-9], [1, 1e308], [1, math.nan], [1, "1"], 1, None]
THREE_WEIGHTS = [[], [1], [1, 1], [1, 1, 1, 1], [1, 1, -1e-9], [1, 1, math.inf], 1, None]
WORD = ["nonsense", "", None, 7, True, []]
TRUTH = ["True", 0, 1, None, []]
FILE = ["weights.pth", "/tmp/weights.pth", " ", 0, False]

# what cannot be used, by key; every key of every model is here
OUTSIDE = {
    **dict.fromkeys(
        (
            *("embedding_size", "user_embedding_size", "item_embedding_size", "mf_embedding_size"),
            *("mlp_embedding_size", "ui_embedding_size", "latent_dimension", "hidden_dimension"),
            *("gcn_output_dim", "weight_size", "n_factors", "n_iterations", "kfac", "num_basis_functions"),
            *("num_conv_kernel", "conv_kernel_size", "pool_kernel_size", "neigh_num", "num_clusters"),
            *("history_len", "history_num_per_term", "metrics_k", "k", "rank", "steps", "n_enc_epochs"),
            *("pretrain_epochs", "save_step", "m_step"),
        ),
        SIZE,
    ),
    **dict.fromkeys(
        (
            *("n_layers", "hyper_layers", "split_to", "sampling_steps", "total_anneal_steps"),
            *("anneal_steps", "vae_anneal_steps", "n_dec_epochs", "warm_up_step"),
        ),
        COUNT,
    ),
    **dict.fromkeys(
        (
            *("reg_weight", "reg_weight_1", "reg_weight_2", "cor_weight", "ssl_weight", "ssl_reg"),
            *("proto_reg", "negative_weight", "second_order_loss_weight", "anneal_cap", "vae_anneal_cap"),
            *("lamda", "lambda1", "lambda2", "shrink", "std", "noise_scale", "noise_min", "noise_max"),
            *("w_max", "w_min", "alpha", "beta", "gamma"),
        ),
        WEIGHT,
    ),
    **dict.fromkeys(("rho", "resolution"), POSITIVE),
    **dict.fromkeys(("tau", "ssl_tau", "ssl_temp"), TEMPERATURE),
    **dict.fromkeys(
        ("dropout_prob", "dropout", "message_dropout", "corruption_ratio", "drop_ratio", "l1_ratio"), SHARE
    ),
    "node_dropout": EDGES_LEFT,
    "margin": [-1.1, 1.1, *NO_NUMBER],
    "q": [0, 11, 1.5, *NO_NUMBER],
    "class_num": [1, *SIZE],
    "neigh_embedding_size": [1, *SIZE],
    "n_cate": [0, 2, 1.0, *NO_NUMBER],
    **dict.fromkeys(
        ("mlp_hidden_size", "encoder_hidden_size", "hidden_size_list", "critic_layers", "dims_dnn"), NO_LIST
    ),
    **dict.fromkeys(("out_dims", "cnn_kernels", "cnn_strides"), NO_LIST),
    **dict.fromkeys(("user_hidden_size_list", "item_hidden_size_list", "in_dims"), [[], *NO_LIST]),
    "cnn_channels": [[], [2, 4], *NO_LIST],
    "reg_weights": TWO_WEIGHTS,
    "mixture_weights": [[0, 0, 0], *THREE_WEIGHTS],
    **dict.fromkeys(
        (
            *("type", "loss_type", "hid_activation", "out_activation", "knn_method", "inter_matrix_type"),
            *("accum", "order", "algorithm", "aggregator", "noise_schedule", "mean_type"),
            *("train_method", "train_stage"),
        ),
        WORD,
    ),
    **dict.fromkeys(("mlp_act_func", "ae_act_func"), ["none", "elu", *WORD]),
    "neigh_info_method": ["knn", *WORD],
    **dict.fromkeys(
        (
            *("positive_only", "center_columns", "hide_item", "sparse_feature", "nogb", "mf_train"),
            *("mlp_train", "sampling_noise", "reweight", "beta_fixed", "reparam"),
        ),
        TRUTH,
    ),
    **dict.fromkeys(("time-aware", "use_pretrain"), [True, *TRUTH]),
    **dict.fromkeys(("pretrain_path", "mf_pretrain_path", "mlp_pretrain_path"), ["", *FILE]),
    "pre_model_path": [None, *FILE],
}
# where a model's bounds are closer
CLOSER = {
    ("AsymKNN", "alpha"): SHARE,
    ("AsymKNN", "beta"): SHARE,
    ("DiffRec", "embedding_size"): [1],
    ("LDiffRec", "embedding_size"): [1],
    ("EASE", "reg_weight"): POSITIVE,
    ("FISM", "alpha"): [1, 2],
    ("GCMC", "dropout_prob"): EDGES_LEFT,
    ("MultiVAE", "latent_dimension"): [1, 3, 7],
    ("NAIS", "alpha"): [1, 2],
    ("NAIS", "beta"): SHARE,
    ("NAIS", "reg_weights"): THREE_WEIGHTS,
    ("NNCF", "mlp_hidden_size"): [[]],
    ("RaCT", "latent_dimension"): [1, 3, 7],
    ("SimpleX", "gamma"): SHARE,
}
# what can, at the edge of it
INSIDE = {
    "embedding_size": [2],
    "latent_dimension": [2],
    "n_layers": [0],
    "k": [1, 10**6],
    "reg_weight": [1e-6, 1e12],
    "alpha": [0.0, 1.0],
    "drop_ratio": [0, 1],
    "dropout_prob": [0, 0.999],
    "node_dropout": [0, 0.999],
    "ssl_tau": [0.015, 1e12],
    "margin": [-1, 1],
    "hidden_size_list": [[], [1]],
    "encoder_hidden_size": [[], [1]],
    "dims_dnn": [[], [1]],
    "mlp_hidden_size": [[2, 1]],
    "negative_weight": [0, 0.5],
    "inter_matrix_type": ["01", "rating"],
    "mixture_weights": [[0, 1, 0]],
    "class_num": [2],
}
KEYS = [(model, key) for model in general_models() for key in sorted(model_keys(model))]


@pytest.mark.parametrize("model", general_models())
def test_every_key_has_a_check_that_its_default_passes(model):
    checks, defaults = model_checks(model), model_defaults(model)
    assert checks.keys() == defaults.keys() == model_keys(model)
    assert [key for key, value in defaults.items() if not checks[key].accepts(value)] == []
    assert {key for key in defaults if key not in OUTSIDE} == set()
    CCDConfig(model)


@pytest.mark.parametrize(("model", "key"), KEYS)
def test_values_outside_are_refused_and_values_inside_are_not(model, key):
    check = model_checks(model)[key]
    outside = [*CLOSER.get((model, key), ()), *OUTSIDE[key]]
    if (model, key) == ("NAIS", "reg_weights"):
        outside = THREE_WEIGHTS
    assert [value for value in outside if check.accepts(value)] == []
    assert [value for value in INSIDE.get(key, ()) if not check.accepts(value)] == []
    message = refused(f"{key} is ", "(config_dict)", model=model, config_dict={key: outside[0]})
    assert message.partition("; ")[2] == f"give {check.allowed}"


@pytest.mark.parametrize(
    ("model", "key", "value"),
    [
        *[("SGL", "drop_ratio", 1.5), ("SGL", "ssl_tau", 0), ("NGCF", "node_dropout", 1.0)],
        *[("MacridVAE", "kfac", 0), ("NeuMF", "mf_embedding_size", 0), ("NeuMF", "mlp_embedding_size", 0)],
        ("LDiffRec", "n_cate", 2),
    ],
)
def test_members_are_checked_like_students(model, key, value):
    for args, path in (({key: value}, key), ({model: {key: value}}, f"{model}.{key}")):
        keys = {"teacher_models": ["BPR", model], "teacher_args": args}
        refused(f"teacher_args.{path} is {value!r} (config_dict)", "; give ", config_dict=keys)


TOGETHER = [
    ("DGCF", {"embedding_size": 8, "n_factors": 3}, "n_factors"),
    ("ConvNCF", {"cnn_channels": [1, 8]}, "cnn_kernels"),
    ("ConvNCF", {"cnn_strides": [4]}, "cnn_strides"),
    ("DMF", {"item_hidden_size_list": [32]}, "item_hidden_size_list"),
    ("NeuMF", {"mlp_hidden_size": []}, "mlp_hidden_size"),
    ("NNCF", {"neigh_num": 8}, "neigh_num"),
    ("DiffRec", {"sampling_steps": 6}, "sampling_steps"),
    ("DiffRec", {"steps": 1}, "steps"),
    ("LDiffRec", {"sampling_steps": 1, "noise_scale": 0}, "sampling_steps"),
    ("LDiffRec", {"mean_type": "eps", "noise_scale": 0}, "mean_type"),
    ("DiffRec", {"noise_min": 0}, "noise_max"),
    ("DiffRec", {"noise_scale": 200}, "noise_max"),
    ("DiffRec", {"noise_min": 0.005, "noise_max": 0.005, "noise_schedule": "linear-var"}, "noise_max"),
]


@pytest.mark.parametrize(("model", "keys", "first"), TOGETHER)
def test_settings_that_do_not_fit_each_other(model, keys, first):
    message = refused(f"{first} is ", "(config_dict)", f"but for {model} ", model=model, config_dict=keys)
    assert message.startswith(first) and message.count("; ") == 1
    teacher = {"teacher_models": [model], "teacher_args": {model: keys}}
    refused("teacher_args.", "(config_dict)", f"but for {model} ", config_dict=teacher)


def test_settings_that_fit_each_other_after_all():
    CCDConfig("NeuMF", config_dict={"mlp_hidden_size": [], "mlp_train": False})
    CCDConfig("ConvNCF", config_dict={"cnn_channels": [1], "cnn_kernels": [], "cnn_strides": []})
    CCDConfig("DiffRec", config_dict={"steps": 1, "noise_scale": 0})
    CCDConfig("DiffRec", config_dict={"noise_min": 0, "noise_schedule": "cosine"})


QUICK = {
    **dict.fromkeys(("embedding_size", "latent_dimension", "hidden_dimension", "gcn_output_dim", "rank"), 8),
    **dict.fromkeys(("mf_embedding_size", "mlp_embedding_size", "ui_embedding_size", "history_len"), 8),
    **dict.fromkeys(("mlp_hidden_size", "dims_dnn", "in_dims", "encoder_hidden_size"), [8]),
    **dict.fromkeys(("hidden_size_list", "user_hidden_size_list", "item_hidden_size_list"), [8]),
    **{"num_conv_kernel": 4, "k": 5, "kfac": 3},
}


@pytest.fixture(scope="module")
def trained(make_config, tmp_path_factory):
    """Trains a model on a short stream with some settings."""
    folder = tmp_path_factory.mktemp("short")
    (folder / "short").mkdir()
    write_inter(folder / "short" / "short.inter", tiny_rows(n=900))

    def train(model, **keys):
        small = {key: QUICK[key] for key in model_keys(model) & QUICK.keys()}
        small |= {"embedding_size": 64} if model == "ConvNCF" else {}
        whole = {
            "block_ratios": [0.6, 0.4],
            "base": "plain",
            "strategy": "full_batch",
            "train_batch_size": 64,
        }
        config = make_config(model, "short", folder, **{**whole, **small, **keys})
        strategy = FullBatch(config)
        strategy.run(create_stream(config))
        return strategy

    return train


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "keys"),
    [
        ("MultiVAE", {"mlp_hidden_size": []}),
        ("MultiDAE", {"mlp_hidden_size": []}),
        ("MacridVAE", {"encoder_hidden_size": []}),
        ("NGCF", {"hidden_size_list": []}),
        ("DiffRec", {"dims_dnn": []}),
        ("NeuMF", {"mlp_hidden_size": [], "mlp_train": False}),
        ("SGL", {"drop_ratio": 1, "ssl_tau": 0.015}),
    ],
)
def test_lists_that_a_model_can_do_without_may_be_empty(trained, model, keys):
    result = trained(model, **keys).result.to_dict()
    assert all(0 <= x <= 1 for row in result["metrics"]["recall@5"]["student"]["R"] for x in row)


EDGES = [0, 1, 2, 1e-6, 0.015, 0.999, 1e12, [], [1], [1, 1], [0, 0], [1e12] * 3, True, False]


@pytest.mark.slow
@pytest.mark.parametrize("model", [model for model in general_models() if model not in ("NCL", "RaCT")])
def test_whatever_passes_its_check_can_be_trained(trained, model):
    told = []
    for key, check in model_checks(model).items():
        words = check.allowed.removeprefix("one of: ").split(", ") if "one of: " in check.allowed else []
        for value in (value for value in [*EDGES, *words] if check.accepts(value)):
            try:
                trained(model, **{key: value})
            except CCDError as error:
                told.append(str(error))
    assert all("; " in message and "\n" not in message for message in told)
    assert not [message for message in told if "became" in message], "an edge that training cannot bear"
