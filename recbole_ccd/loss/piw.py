"""Personalised imitation weights (PIW): how much of the old model each user should keep."""

import torch
from torch import Tensor, nn
from torch.nn import functional


def soft_assignment(x: Tensor, centers: Tensor, degrees_of_freedom: float) -> Tensor:
    r"""Soft assignment of vectors to cluster centres with a Student-t kernel.

    .. math:: q_{ic} \propto \bigl(1 + \lVert x_i - \mu_c \rVert^2 / \alpha\bigr)^{-(\alpha + 1) / 2}

    computed in log space, since :math:`\alpha` (the number of items less one) runs into the thousands.

    Source: DEC, Xie et al., "Unsupervised Deep Embedding for Clustering Analysis", ICML 2016, by which PIW
    (Wang et al., AAAI 2023) finds its clusters of items; users are assigned by :func:`interest_assignment`.

    Args:
        x: (B, d) vectors.
        centers: (C, d) cluster centres.
        degrees_of_freedom: the :math:`\alpha` above.

    Returns:
        (B, C) probabilities; each row sums to 1.

    Raises:
        ValueError: If the degrees of freedom are not positive.
    """
    if degrees_of_freedom <= 0:
        raise ValueError(f"degrees_of_freedom must be positive, got {degrees_of_freedom}")
    squared = (x * x).sum(1, keepdim=True) + (centers * centers).sum(1) - 2.0 * (x @ centers.T)
    # The expanded square may fall below zero by rounding when a vector lies on its centre.
    kernel = torch.log1p(squared.clamp(min=0.0) / degrees_of_freedom)
    return torch.softmax(kernel * (-(degrees_of_freedom + 1.0) / 2.0), dim=1)


def interest_assignment(users: Tensor, centers: Tensor, projections: Tensor) -> Tensor:
    r"""How a user's interest is distributed over clusters of items.

    .. math:: p_{uc} = \mathrm{softmax}_c \bigl( e_u^\top (\mu_c W_c) \bigr)

    with a centre :math:`\mu_c` and a learned matrix :math:`W_c` for each cluster.

    Source: the state of interest in PIW, Wang et al., "Structure Aware Incremental Learning with Personalized
    Imitation Weights for Recommender Systems", AAAI 2023.

    Args:
        users: (B, d) embeddings of users.
        centers: (C, d) cluster centres.
        projections: (C, d, d) a matrix for each cluster.

    Returns:
        (B, C) probabilities; each row sums to 1.
    """
    directions = torch.bmm(centers.unsqueeze(1), projections).squeeze(1)
    return torch.softmax(users @ directions.T, dim=1)


def cluster_loss(assignment: Tensor) -> Tensor:
    r"""Self-training loss that sharpens a soft assignment.

    .. math:: \mathrm{KL}(P \Vert Q) = \frac{1}{B} \sum_i \sum_c p_{ic} \log \frac{p_{ic}}{q_{ic}},
              \qquad p_{ic} \propto q_{ic}^2 / f_c, \quad f_c = \sum_i q_{ic}

    with the target :math:`P` held constant.

    Source: DEC, Xie et al., ICML 2016.

    Args:
        assignment: (B, C) probabilities as :func:`soft_assignment` gives them.

    Returns:
        Scalar, mean over the rows; 0 for an empty batch.
    """
    tiny = torch.finfo(assignment.dtype).tiny
    detached = assignment.detach()
    target = detached.square() / detached.sum(0).clamp(min=tiny)
    target = target / target.sum(1, keepdim=True).clamp(min=tiny)
    terms = torch.xlogy(target, target) - target * assignment.clamp(min=tiny).log()
    return terms.sum() / max(assignment.shape[0], 1)


class ImitationWeight(nn.Module):
    """Weight of each user's distillation terms, learned from how far the user has moved.

    A two-layer perceptron with a softplus output reads the squared change of the user's distribution over
    the item clusters (:func:`interest_assignment`); the weights are scaled to mean 1 within the batch, so
    that they share out and do not shrink.

    Source: PIW, Wang et al., "Structure Aware Incremental Learning with Personalized Imitation Weights for
    Recommender Systems", AAAI 2023.

    Args:
        clusters: number of clusters C.
        hidden: width of the hidden layer.
        generator: source of the initial weights; None for one seeded with 0.
    """

    def __init__(self, clusters: int, hidden: int = 64, generator: torch.Generator | None = None) -> None:
        super().__init__()
        # nn.Linear would draw from the global generator.
        self.hidden = nn.utils.skip_init(nn.Linear, clusters, hidden)
        self.output = nn.utils.skip_init(nn.Linear, hidden, 1)
        generator = generator or torch.Generator().manual_seed(0)
        for layer in (self.hidden, self.output):
            nn.init.xavier_uniform_(layer.weight, generator=generator)
            nn.init.zeros_(layer.bias)

    def forward(self, old_assignment: Tensor, new_assignment: Tensor) -> Tensor:
        """Weights of a batch.

        Args:
            old_assignment: (B, C) distribution before the update.
            new_assignment: (B, C) distribution now.

        Returns:
            (B,) positive weights with mean 1.

        Raises:
            ValueError: If the shapes differ.
        """
        if old_assignment.shape != new_assignment.shape:
            raise ValueError(f"assignments {tuple(old_assignment.shape)} and {tuple(new_assignment.shape)}")
        change = (new_assignment - old_assignment).square()
        weights = functional.softplus(self.output(torch.relu(self.hidden(change)))).squeeze(1)
        return weights / weights.mean().clamp(min=torch.finfo(weights.dtype).tiny)
