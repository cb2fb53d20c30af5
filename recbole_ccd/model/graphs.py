"""RecBole's models of graphs that newer scipy cannot build; nothing else of them is changed."""

from __future__ import annotations

from recbole.model.general_recommender import GCMC as RecBoleGCMC
from recbole.model.general_recommender import NCL as RecBoleNCL
from recbole.model.general_recommender import NGCF as RecBoleNGCF
from recbole.model.general_recommender import SpectralCF as RecBoleSpectralCF

from recbole_ccd.compat import with_todays_scipy
from recbole_ccd.registry import register


@register("GCMC")
class GCMC(RecBoleGCMC):
    """RecBole's GCMC."""

    get_norm_adj_mat = with_todays_scipy(RecBoleGCMC.get_norm_adj_mat)


@register("NCL")
class NCL(RecBoleNCL):
    """RecBole's NCL."""

    get_norm_adj_mat = with_todays_scipy(RecBoleNCL.get_norm_adj_mat)


@register("NGCF")
class NGCF(RecBoleNGCF):
    """RecBole's NGCF."""

    get_norm_adj_mat = with_todays_scipy(RecBoleNGCF.get_norm_adj_mat)


@register("SpectralCF")
class SpectralCF(RecBoleSpectralCF):
    """RecBole's SpectralCF."""

    get_laplacian_matrix = with_todays_scipy(RecBoleSpectralCF.get_laplacian_matrix)
