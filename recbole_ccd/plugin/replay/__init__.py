"""Experience replay: what of the past is visited again while a block is learned."""

from recbole_ccd.plugin.replay.ader import ADERReplay
from recbole_ccd.plugin.replay.base import ReplayScheme, ReplaySource, chosen_scheme
from recbole_ccd.plugin.replay.mutual import MutualReplay
from recbole_ccd.plugin.replay.proxy_guided import ProxyGuidedReplay
from recbole_ccd.plugin.replay.reservoir import ReservoirReplay
from recbole_ccd.plugin.replay.spmf import SPMFReplay

__all__ = [
    "ADERReplay",
    "MutualReplay",
    "ProxyGuidedReplay",
    "ReplayScheme",
    "ReplaySource",
    "ReservoirReplay",
    "SPMFReplay",
    "chosen_scheme",
]
