"""Growing a model to what is known now: rebuild it on the block's view, copy what it had learned."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from recbole.model.abstract_recommender import GeneralRecommender
from recbole.utils import ModelType
from scipy.sparse import csr_matrix
from torch import Tensor

from recbole_ccd.config import given_config
from recbole_ccd.config.catalogue import is_context
from recbole_ccd.data.block import Block
from recbole_ccd.data.schedule import scheduled
from recbole_ccd.model.history import use_history
from recbole_ccd.model.initialization import initialize_new_entities
from recbole_ccd.model.lightgcn import LightGCN
from recbole_ccd.model.scoring import is_autoencoder, score_pairs, scores_pairs_only
from recbole_ccd.utils.errors import CCDError, ModelError, one_line
from recbole_ccd.utils.resource_errors import is_out_of_memory

if TYPE_CHECKING:
    from recbole_ccd.config import CCDConfig

# models with a training loop of their own (pre-training, clustering between epochs); no stage can extend it
OWN_LOOP = ("NCL", "RaCT", "NAIS", "DiffRec", "LDiffRec")
# models that are solved in closed form though RecBole lists them among the trained ones
CLOSED_FORM = ("NCEPLRec",)
# models whose parameters belong to rows of a fixed matrix, not to ids
NOT_BY_ID = ("SpectralCF", "LINE", "NNCF", "GCMC")
# what helps a model that can be built and cannot score
_REMEDIES = {
    "NeuMF": "set mf_train or mlp_train to True",
    "ConvNCF": "take embedding_size 64, or cnn_kernels and cnn_strides that fit it",
}


def learns_by_steps(config: CCDConfig) -> bool:
    """Whether the configured model learns by gradient steps; others are counted or solved at once."""
    return config["MODEL_TYPE"] == ModelType.GENERAL and config["model"] not in CLOSED_FORM


def check_growable(config: CCDConfig, role: str) -> None:
    """Refuses a model that cannot follow a stream, before anything runs.

    Args:
        config: the model's configuration.
        role: ``student`` or ``teacher``, for the message.

    Raises:
        ModelError: If the model has no parameters to grow, a training loop that cannot be extended, or a
            number of layers with which it cannot be grown as configured.
    """
    name = config["model"]
    if name == "LightGCN" and config["growth"] == "predictions" and config["n_layers"] % 2:
        raise ModelError(
            f"n_layers is {config['n_layers']} for the {role}, and growth: predictions needs an even number "
            "of layers; change n_layers or take growth: embeddings"
        )
    if is_context(config.model_class):
        instead = ", or train it anew on every block with --strategy=full_batch" if role == "student" else ""
        raise ModelError(
            f"model: {name} has one table of all fields, in which rows move when users arrive, and cannot be "
            f"grown; as {role} take LightGCN, BPR, …{instead}"
        )
    if not learns_by_steps(config):
        instead = ", or fit it anew on every block with --strategy=full_batch" if role == "student" else ""
        raise ModelError(
            f"model: {name} has nothing to grow by gradient steps; as {role} take LightGCN, BPR, …{instead}"
        )
    if name in OWN_LOOP or name in NOT_BY_ID:
        why = "has a training loop of its own" if name in OWN_LOOP else "has parameters that are not per id"
        raise ModelError(
            f"model: {name} {why} and cannot be grown; as {role} take LightGCN, BPR, NGCF, MultiVAE, …"
        )


def build(config: CCDConfig, block: Block) -> GeneralRecommender:
    """A fresh model of the size known at a block.

    Args:
        config: the model's configuration.
        block: gives the known prefix and the rows the model is built on.

    Returns:
        The model on the configured device; auto-encoders read the block's rows.
    """
    # DGCF reads the batch size
    config = scheduled(config, block)
    model = config.model_class(config, block.model_data(config)).to(config["device"])
    set_inference_history(model, block, config)
    return model


def fitted(config: CCDConfig, block: Block) -> GeneralRecommender:
    """A fresh model as of :func:`build`, to be trained; some are fitted in their constructors.

    Args:
        config: the model's configuration.
        block: gives the known prefix and the rows the model is built on.

    Raises:
        ModelError: If the model's class refuses its settings or the data.
    """
    try:
        return build(config, block)
    except Exception as error:  # whatever a model's own code raises
        if isinstance(error, CCDError | OSError) or is_out_of_memory(error):
            raise
        raise _unbuildable(config, error) from error


def _unbuildable(config: CCDConfig, error: Exception) -> ModelError:
    reason = one_line(f"{type(error).__name__}: {error}")
    return ModelError(
        f"model: {config['model']} cannot be built with its settings on this data ({reason}); correct them"
    )


def rebuild(config: CCDConfig, block: Block, state: Mapping[str, Tensor]) -> GeneralRecommender:
    """A model as it was when its weights were taken.

    Args:
        config: the model's configuration.
        block: the block at whose size it was.
        state: its weights.

    Returns:
        The model in evaluation mode.
    """
    model = build(config, block)
    model.load_state_dict(state)
    return model.eval()


def check_buildable(config: CCDConfig, block: Block) -> GeneralRecommender:
    """Builds a model to see that it takes its settings and the data, before anything runs.

    A model that scores pair by pair is tried on one, as its layers may not fit each other.

    Args:
        config: the model's configuration.
        block: a block to build it on.

    Returns:
        The model, untrained, in evaluation mode.

    Raises:
        ModelError: If the model's class refuses them, or it cannot score with them.
    """
    try:
        model = build(config, block).eval()
    except Exception as error:  # whatever a model's own code raises
        raise _unbuildable(config, error) from error
    try:
        if scores_pairs_only(model):
            _score_one_pair(model)
    except Exception as error:
        reason = one_line(f"{type(error).__name__}: {error}")
        remedy = _REMEDIES.get(config["model"], "correct them")
        start = f"model: {config['model']} cannot score with its settings ({reason})"
        raise ModelError(f"{start}; {remedy}") from error
    return model


@torch.no_grad()
def _score_one_pair(model: GeneralRecommender) -> None:
    first = torch.ones(1, dtype=torch.long, device=model.device)
    score_pairs(model, first, first)


def set_inference_history(model: GeneralRecommender, block: Block, config: CCDConfig) -> None:
    """Gives an auto-encoder the rows it predicts from; other models are left alone."""
    if is_autoencoder(model):
        use_history(model, inference_rows(block, config))


def inference_rows(block: Block, config: CCDConfig) -> csr_matrix:
    """The rows that an auto-encoder predicts from, users × items.

    With ``graph: cumulative`` these are all interactions so far: like a graph, they serve prediction only.
    """
    return block.train_so_far if config["graph"] == "cumulative" else block.train_matrix


def copy_prefix(target: dict[str, Tensor], source: dict[str, Tensor]) -> None:
    """Copies every source tensor into the leading corner of the target tensor of its name.

    Ids are a prefix, so whatever dimension a parameter grew in, its old part is the leading one.

    Args:
        target: state of the grown model, changed in place.
        source: state of the smaller one.

    Raises:
        ModelError: If a tensor is unknown to the target, has shrunk, or has other dimensions.
    """
    for name, old in source.items():
        new = target.get(name)
        if new is None:
            raise ModelError(
                f"'{name}' is no parameter of the model built for the block; grow members one by one"
            )
        if new.dim() != old.dim() or any(n < o for n, o in zip(new.shape, old.shape, strict=True)):
            raise ModelError(
                f"'{name}' went from {tuple(old.shape)} to {tuple(new.shape)}; this model cannot be grown"
            )
        with torch.no_grad():
            new[tuple(slice(0, size) for size in old.shape)].copy_(old)


def grow(model: GeneralRecommender, config: CCDConfig, block: Block) -> GeneralRecommender:
    """The model at the size of a block, its parameters for old ids bit-identical.

    What a model keeps outside its state dict starts anew, such as MultiVAE's count of annealing steps.
    LightGCN's predictions for old ids depend on the graph too, which may have changed. With ``growth:
    predictions`` the *final* embeddings of old ids stay what they were (to rounding), those of new ids are
    initialised, and the parameters become what propagates to them on the new graph. New rows of embeddings
    start as ``new_entity_initialization`` says.

    Args:
        model: a model of an earlier prefix; left as it is.
        config: the model's configuration.
        block: the block that has arrived.

    Returns:
        A new model.
    """
    grown = build(given_config(config), block)
    copy_prefix(grown.state_dict(), model.state_dict())
    keeps_predictions = config["growth"] == "predictions" and isinstance(grown, LightGCN)
    if keeps_predictions:
        _set_tables(grown, model())
    start = config["new_entity_initialization"]
    if start != "random":
        n_popular = config["n_popular_neighbors"]
        initialize_new_entities(grown, block, n_popular=n_popular, two_hop=start == "two_hop")
    if keeps_predictions:
        _set_tables(grown, grown.own_of(grown.user_embedding.weight, grown.item_embedding.weight))
    return grown


def _set_tables(model: LightGCN, rows: tuple[Tensor, Tensor]) -> None:
    """Overwrites the first rows of both embedding tables."""
    with torch.no_grad():
        for table, values in zip((model.user_embedding, model.item_embedding), rows, strict=True):
            table.weight[: len(values)] = values
