"""Streams from files, and runs whose weights are kept after every block."""

from recbole_ccd import registry
from recbole_ccd.quick_start import create_stream
from recbole_ccd.strategy.ccd import CCD
from recbole_ccd.trainer import StageTrainer
from tests.conftest import tiny_rows, write_inter

STRATEGIES = registry.registered("strategy")
HEADER = "user_id:token\titem_id:token"


def put_in_place_of(monkeypatch, name, strategy):
    """Makes a class the registered strategy of a name."""
    ours = registry._ours

    def with_other(kind):
        return {**ours(kind), **({name: strategy} if kind == "strategy" else {})}

    monkeypatch.setattr(registry, "_ours", with_other)


def noted_plugins(monkeypatch):
    """A list that is going to hold the label of each stage with each plugin that it is given."""
    noted, add = [], StageTrainer.add

    def note(trainer, *plugins):
        noted.extend((trainer.label, plugin) for plugin in plugins)
        return add(trainer, *plugins)

    monkeypatch.setattr(StageTrainer, "add", note)
    return noted


def block_rows(n_blocks=3):
    """The rows of the tiny stream, block by block, without times."""
    rows = [row[:2] for row in tiny_rows()]
    cuts = [0, 1000, *(1000 + 800 * k for k in range(1, n_blocks - 1)), len(rows)]
    return [rows[start:end] for start, end in zip(cuts[:-1], cuts[1:], strict=True)]


def write_files(folder, name, files):
    """Writes ``name.<suffix>.inter`` for every suffix and returns the suffixes."""
    (folder / name).mkdir(exist_ok=True)
    for suffix, rows in files.items():
        write_inter(folder / name / f"{name}.{suffix}.inter", rows, HEADER)
    return list(files)


def triples(blocks):
    """Train, valid and test file of every block: of ten rows the ninth is valid, the tenth test."""
    return {
        f"b{k}.{part}": [row for n, row in enumerate(rows) if (n % 10 == 8, n % 10 == 9) == wanted]
        for k, rows in enumerate(blocks)
        for part, wanted in (("train", (False, False)), ("valid", (True, False)), ("test", (False, True)))
    }


def odd_stream(folder):
    """The settings of a stream whose blocks bring nobody new, strangers alone, and nothing to validate on."""
    base, later = block_rows()[:2]
    users = {user for user, _ in base}
    nobody_new = [row for row in later if row[0] in users]
    strangers = [(f"other-{user}", f"other-{item}") for user, item in later]
    files = triples([base, nobody_new, strangers, later[::3]]) | {"b3.valid": []}
    names = write_files(folder, "files", files)
    data = {"dataset": "files", "data_path": folder, "metric_decimal_place": 15}
    return {**data, "benchmark_filename": names}


class Recording:
    """A strategy that records its models' weights after every block; a base class beside the strategy's."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.states = []

    def train_block(self, block):
        super().train_block(block)
        self.states.append(
            {
                name: {key: value.clone() for key, value in model.state_dict().items()}
                for name, model in self.models().items()
            }
        )


class Recorded(Recording, CCD):
    """CCD that records its models' weights after every block."""


def recorded(strategy):
    """A strategy's class with :class:`Recording` in it."""
    return type(f"Recorded{strategy.__name__}", (Recording, strategy), {})


def follow(config, strategy=Recorded, stream=None, base_models=None):
    """Runs a strategy over a stream, by default the configured one, and returns it, finished."""
    finished = strategy(config, base_models=base_models)
    finished.run(create_stream(config) if stream is None else stream)
    return finished


def matrices(strategy):
    """R of every metric and role."""
    metrics = strategy.result.to_dict()["metrics"]
    return {(name, role): metrics[name][role]["R"] for name in metrics for role in metrics[name]}


def same_weights(one, other):
    """Whether two dictionaries of state dicts are equal, bit for bit."""
    return one.keys() == other.keys() and all(
        one[name].keys() == other[name].keys()
        and all(value.equal(other[name][key]) for key, value in one[name].items())
        for name in one
    )


SIZES = {
    "MultiVAE": {"mlp_hidden_size": [32], "latent_dimension": 16},
    "RecVAE": {"hidden_dimension": 32, "latent_dimension": 16},
    "NeuMF": {"mf_embedding_size": 16, "mlp_embedding_size": 16, "mlp_hidden_size": [32, 16]},
    "DMF": {
        "user_embedding_size": 16,
        "item_embedding_size": 16,
        "user_hidden_size_list": [16],
        "item_hidden_size_list": [16],
    },
}


def teachers(*models):
    """Settings of a small teacher of these members."""
    sizes = {model: SIZES.get(model, {"embedding_size": 16}) for model in models}
    return {"teacher_models": list(models), "teacher_args": sizes}
