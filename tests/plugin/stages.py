"""Stages of one model on one block, with the plugins that a test is about, piece by piece."""

from recbole_ccd.model.growth import grow
from recbole_ccd.plugin.base import PluginContext
from recbole_ccd.plugin.replay import ReplaySource
from recbole_ccd.trainer import make_trainer
from tests.model.small_models import small_model


def stage_trainer(config, model, block, stage, *plugins, previous=None, excluded=None, seed=3):
    """A trainer of a stage, bound to a block and given plugins."""
    trainer = make_trainer(config.for_stage(stage), model)
    trainer.bind(block, f"block {block.index} {stage}", seed, previous).exclude(excluded)
    return trainer.add(*plugins)


def bound(plugin, config, block, previous, model, seed=0):
    """A plugin, bound to a block without a trainer."""
    plugin.bind(PluginContext(config, block, model, previous, seed))
    return plugin


def take_passes(trainer, epoch=0):
    """The plugins' optimizer steps after an epoch, and no others."""
    for plugin in trainer.plugins:
        for entry in plugin.after_epoch(epoch):
            for batch in entry.batches:
                trainer.step(entry.loss(batch))


def terms_of(trainer, batch):
    """What the plugins add to the loss of a batch."""
    return tuple(term for plugin in trainer.plugins for term in plugin.batch_losses(batch))


def past_and_present(make_config, stream, name, **keys):
    """Configuration, a frozen model of block 0, and its grown copy in block 1."""
    config, frozen = small_model(make_config, name, stream[0], **keys)
    return config, frozen, grow(frozen, config, stream[1]).eval()


def frozen_source(make_config, block, name="BPR", n_draws=3, seed=0):
    """A model of a block that can be replayed from."""
    return ReplaySource(f"{name}{seed}", small_model(make_config, name, block, seed)[1], n_draws)
