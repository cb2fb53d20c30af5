"""What RecBole's own full-sort evaluation recommends: its Trainer's scores, its Collector's lists."""

import copy
from types import SimpleNamespace

import torch
import yaml
from recbole.data.interaction import Interaction
from recbole.evaluator import Collector
from recbole.trainer import Trainer

from recbole_ccd import CCDConfig, create_stream
from recbole_ccd.model.scoring import clear_cache
from recbole_ccd.registry import registered
from recbole_ccd.utils.atomic_files import load_tensors
from recbole_ccd.utils.seeding import seed_stage


def restored(run_dir):
    """Configuration, stream and strategy of a finished run, from its data and its checkpoints."""
    config = CCDConfig.from_dict(yaml.safe_load((run_dir / "config.yaml").read_text(encoding="utf-8")))
    stream = create_stream(config)
    files = sorted((run_dir / "checkpoints" / f"block-{len(stream) - 1}").glob("*.pt"))
    strategy = registered("strategy")[config["strategy"]](config)
    strategy.restore(stream[len(stream) - 1], {file.stem: load_tensors(file) for file in files})
    return config, stream, strategy


def evaluated_lists(config, stream, model, block, role="student"):
    """The lists of a block's users after the last block.

    Returns:
        User tokens, and item tokens of shape ``(users, longest topk)``.
    """
    now = stream[len(stream) - 1]
    of_items = copy.deepcopy(config)
    of_items["metrics"] = ["ItemCoverage"]
    collector = Collector(of_items)
    dataset, ids = stream.dataset, torch.arange(now.n_items)
    trainer = SimpleNamespace(
        model=model,
        device=torch.device("cpu"),
        tot_item_num=now.n_items,
        item_tensor=Interaction({dataset.iid_field: ids}),
        test_batch_size=1 << 30,
    )
    seed_stage(config["seed"], config["reproducibility"], "evaluation", now.index, role)
    clear_cache(model.eval())
    loader = stream[block].measured_loader(config, known_at=now)
    with torch.no_grad():
        for batch in loader:
            interaction, scores, *positives = Trainer._full_sort_batch_eval(trainer, batch)
            collector.eval_batch_collect(scores, interaction, *positives)
    lists = collector.get_data_struct()["rec.items"]
    users = dataset.field2id_token[dataset.uid_field][loader.uid_list.numpy()]
    return users.tolist(), dataset.field2id_token[dataset.iid_field][lists.numpy()].tolist()
