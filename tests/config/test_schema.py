"""One row per key: complete, in agreement with the defaults, and with what each scope promises."""

import re
import runpy

import pytest
import yaml
from recbole.utils import dataset_arguments, evaluation_arguments, general_arguments

from recbole_ccd.checkpoint.compatibility import settings_of
from recbole_ccd.compat import NumpyLeftAlone
from recbole_ccd.config import STAGE_KEYS, STAGES, CCDConfig
from recbole_ccd.config.catalogue import comparable_keys, names_of, properties_dir, recbole_properties_dir
from recbole_ccd.config.schema import SCHEMA, Scope, check_of, keys_of, known_keys, parts_of
from recbole_ccd.experiment.search.plan import plan
from recbole_ccd.experiment.search.space import read_space
from recbole_ccd.utils.errors import ConfigError
from tests.config.refused import refused
from tests.documents import REPOSITORY

FILES = sorted(properties_dir().rglob("*.yaml"))
MADE = runpy.run_path(str(REPOSITORY / "docs" / "make_options.py"))
OPTIONS = [option for file in FILES for section in MADE["sections"](file) for option in section.options]
# what a comment has in brackets, with a value that is not of that type and of none that is taken for it
NO_SUCH = {"int": 0.5, "float": "a", "bool": 2, "str": 0.5, "list": 0.5, "dict": 0.5}


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(properties_dir())))
def test_every_key_of_a_file_has_a_row(file):
    values = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
    assert values.keys() <= SCHEMA.keys()
    for key, value in values.items():
        assert not parts_of(key) or value is None or value.keys() <= parts_of(key).keys()


def test_every_row_is_of_a_key_that_has_a_default_or_that_recbole_knows():
    theirs = [recbole_properties_dir() / name for name in ("overall.yaml", "dataset/sample.yaml")]
    documented = {key for file in (*FILES, *theirs) for key in yaml.safe_load(file.read_text("utf-8")) or ()}
    programs = {"model", "dataset", "nproc", "world_size", "ip", "port", "group_offset"}
    without = {key for key in known_keys() if key not in documented | programs}
    assert without <= set(keys_of(Scope.DERIVED)) | {"discretization"}
    assert known_keys() >= {*general_arguments, *evaluation_arguments, *dataset_arguments} - {"config_file"}


@pytest.mark.parametrize("strategy", names_of("strategy"))
def test_defaults_are_allowed(strategy):
    config = CCDConfig(config_dict={"strategy": strategy})
    for key, value in config.final_config_dict.items():
        check = check_of(key)
        assert check is None or check.accepts(value), key
        for part, nested in parts_of(key).items():
            assert not isinstance(value, dict) or part not in value or nested.accepts(value[part]), part


def test_the_types_beside_the_defaults_are_those_of_the_rows():
    for option in OPTIONS:
        check = check_of(option.key)
        if check is None or not option.type:
            continue
        types = re.split(r", | or ", option.type)
        assert "None" not in types or check.accepts(None), option
        kinds = {name.partition(" of ")[0] for name in types} - {"None"}
        if len(kinds) == 1:
            assert not check.accepts(NO_SUCH[kinds.pop()]), option


def test_each_stage_has_the_keys_of_training():
    for stage in STAGES:
        for key in STAGE_KEYS:
            row, plain = SCHEMA[f"{stage}_{key}"], SCHEMA[key]
            assert row.stages == (stage,) and set(STAGES) <= set(plain.stages)
            assert row.check.accepts(None) and row.check.allowed.startswith(plain.check.allowed)
        assert parts_of(f"{stage}_clip_grad_norm").keys() == parts_of("clip_grad_norm").keys()


def test_readers_are_those_that_there_are():
    for key, row in SCHEMA.items():
        assert set(row.stages) <= {*STAGES, "data", "evaluation", "run"}, key
        assert not row.stages or row.is_read, key
        # the base block's own key must be shared by all that begin with it
        assert row.scope is not Scope.STRATEGY or "base" not in row.stages, key


def test_strategies_may_differ_in_what_is_said_so_and_in_nothing_else():
    assert comparable_keys() == set(keys_of(Scope.STRATEGY))
    for scope in set(Scope) - {Scope.STRATEGY}:
        key = keys_of(scope)[0]
        refused("strategies cannot differ in it", config_dict={"strategy_args": {"ccd": {key: 1}}})


def test_what_a_run_is_resumed_with_is_all_but_what_changes_no_result():
    recorded = settings_of(CCDConfig().to_dict())
    assert not recorded.keys() & {*keys_of(Scope.RUN), *keys_of(Scope.DERIVED)}
    for scope in (Scope.CHOICE, Scope.STREAM, Scope.MEASURE, Scope.BASE, Scope.STRATEGY):
        assert recorded.keys() & set(keys_of(scope)), scope


def test_the_keys_that_a_result_does_not_depend_on_are_these():
    # a run directory of another day holds the others: each key more here could not be resumed from it
    assert set(keys_of(Scope.RUN)) == {
        *("show_progress", "show_epochs", "state", "write_report", "log_wandb", "wandb_project"),
        *("run_dir", "data_path", "dataset_url", "data_cache", "plugins"),
        *("checkpoint_every", "prepare_update"),
        *("save_dataset", "save_dataloaders", "dataset_save_path", "dataloaders_save_path"),
        *("gpu_id", "use_gpu", "nproc", "world_size", "ip", "port", "group_offset", "eval_batch_size"),
        *("parallel", "parallel_workers"),
    }


def test_data_sets_and_what_recbole_measures_are_what_compared_runs_share():
    assert set(keys_of(Scope.STREAM)) >= set(dataset_arguments)
    measured = {*keys_of(Scope.MEASURE), *keys_of(Scope.STREAM), *keys_of(Scope.DERIVED), "eval_batch_size"}
    assert measured >= set(evaluation_arguments)


@pytest.mark.parametrize("scope", [Scope.CHOICE, Scope.STREAM, Scope.MEASURE, Scope.RUN])
def test_a_search_leaves_them_alone(scope, tmp_path):
    for key in keys_of(scope):
        file = tmp_path / "my.hyper"
        file.write_text(f"{key} choice [1,2]\n", encoding="utf-8")
        with pytest.raises(ConfigError, match=f"{key} cannot be searched"):
            plan(read_space(str(file)), "exhaustive", None, None, None, None, None, None)


def test_rows_name_keys_that_recbole_has():
    defaults = NumpyLeftAlone("BPR", "no-such").final_config_dict
    for key, row in SCHEMA.items():
        if row.scope is Scope.DERIVED:
            assert key in defaults or key in ("valid_neg_sample_args", "test_neg_sample_args", "local_rank")


def test_a_key_without_row_is_shared_and_of_the_type_of_its_default():
    assert check_of("no_such_key") is None and parts_of("no_such_key") == {}
    assert "no_such_key" not in known_keys()
