"""Blocks that arrive by updates give what a run on all of them gives, bit for bit."""

import json
import shutil

import pytest

from recbole_ccd import create_strategy, load_student, resume, run_ccd, update
from recbole_ccd.quick_start import create_stream
from recbole_ccd.utils.errors import RunError
from tests.checkpoint.cases import Killed, assert_same_run, document_of, killed_after
from tests.conftest import few
from tests.experiment.update.conftest import KEYS
from tests.strategy.runs import teachers

CASES = {
    "ccd": {},
    "ccd-block-graph": {
        **teachers("LightGCN", "BPR"),
        "graph": "block",
        "valid_blocks": "current",
        "growth": "predictions",
        "n_layers": 2,
        "student_start": "previous",
        "mask_history": "all",
        # a value for each block, of which there are more than values
        "student_replay_stability": [1, 2],
    },
    "ccd-pieces": {"student_updates_per_block": 2, "checkpoint_every": None},
    "ccd-scoring-pairs": {**teachers("BPR"), "model": "NeuMF", "mlp_hidden_size": [8], "eval_part": "valid"},
    "ccd-auto-encoder": {**teachers("MultiVAE"), "model": "BPR"},
    "fine_tune": {"strategy": "fine_tune", "base": "plain"},
    "replay": {"strategy": "replay", "base": "plain", "reservoir_size": 300},
    "full_batch": {"strategy": "full_batch", "base": "plain", "model": "MultiVAE", "graph": "block"},
    "full_batch-ease": {"strategy": "full_batch", "model": "EASE"},
    "distill_each_block": {**teachers("BPR"), "strategy": "distill_each_block"},
    "retrain_distill": {**teachers("BPR", "MultiVAE"), "strategy": "retrain_distill"},
}
# the others are slow only in their number
AT_ONCE = ("ccd", "fine_tune")
TWICE = set(CASES) - {"ccd-block-graph", "fine_tune"}


def assert_same_documents(one, other):
    """The same results and tokens; of the configuration only the files of the blocks differ."""
    documents = [document_of(folder) for folder in (one, other)]
    for document in documents:
        del document["config"]["benchmark_filename"]
    assert documents[0] == documents[1]
    assert json.loads((one / "vocabulary.json").read_text()) == json.loads(
        (other / "vocabulary.json").read_text()
    )


def assert_same(one, other, tmp_path):
    """Two runs hold the same, whichever files they were begun with."""
    assert_same_documents(one, other)
    copies = [shutil.copytree(folder, tmp_path / f"same-{n}") for n, folder in enumerate((one, other))]
    for copy in copies:
        document = json.loads((copy / "result.json").read_text())
        del document["config"]["benchmark_filename"]
        (copy / "result.json").write_text(json.dumps(document))
    assert_same_run(*copies)


@pytest.mark.parametrize("case", few(list(CASES), *AT_ONCE))
def test_updates_equal_a_run_on_all_blocks(case, copy_of, run_on, new_block, tmp_path):
    folder = copy_of(2, **CASES[case])
    # that a second update follows on the first needs to be seen once
    later = (2, 3) if case in TWICE else (2,)
    for k in later:
        result = update(folder, new_block(k)[0])
        assert result.n_rows("student") == result.n_blocks == k + 1
    assert_same(folder, run_on(2 + len(later), **CASES[case]), tmp_path)
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["status"] == "finished" and manifest["cycle"] is None
    files = [entry["source"] and len(entry["source"]["files"]) for entry in manifest["rows"]]
    assert files == [None, None, *(1 for _ in later)]


@pytest.mark.slow
def test_triples_of_files(copy_of, run_on, new_block, tmp_path):
    folder = copy_of(2, "parted", strategy="fine_tune", base="plain")
    update(folder, ",".join(map(str, reversed(new_block(2, "parted")))))
    assert_same(folder, run_on(3, "parted", strategy="fine_tune", base="plain"), tmp_path)


def test_a_stream_with_times_is_gone_on_with_in_their_order(tiny_folder, tmp_path):
    keys = {**KEYS, "strategy": "fine_tune", "base": "plain", "load_col": None, "dataset": "tiny"}
    rows = (tiny_folder / "tiny" / "tiny.inter").read_text().splitlines()
    header, rows = rows[0], rows[1:]
    times = [float(row.split("\t")[2]) for row in rows]
    first = sum(time < 600 for time in times)
    # out of order within the block
    rows[first:] = rows[first:][::-1]
    for name, kept in (("all", rows), ("early", rows[:first])):
        (tmp_path / name / "tiny").mkdir(parents=True)
        (tmp_path / name / "tiny" / "tiny.inter").write_text("\n".join([header, *kept]) + "\n")
    (tmp_path / "late.inter").write_text("\n".join([header, *rows[first:]]) + "\n")
    cuts = {"all": [300, 600], "early": [300]}
    for name, boundaries in cuts.items():
        data = {"data_path": str(tmp_path / name), "block_boundaries": boundaries, "block_ratios": None}
        run_ccd(config_dict={**keys, **data, "run_dir": str(tmp_path / f"run-{name}")})
    update(tmp_path / "run-early", tmp_path / "late.inter")
    documents = [document_of(tmp_path / f"run-{name}") for name in cuts]
    for document in documents:
        del document["config"]["block_boundaries"], document["config"]["data_path"]
    assert documents[0] == documents[1]


# one by the update, one by the run; the student, the member, the block, the end, stage 1 of the next
@pytest.mark.parametrize("saves", few([1, 2, 3, 4], 4))
def test_an_interrupted_update_goes_on(saves, copy_of, run_on, new_block, tmp_path):
    folder, before = copy_of(2), copy_of(2, to="before")
    with pytest.raises(Killed), killed_after(saves):
        update(folder, new_block(2)[0])
    # until it is finished the run is as it was
    assert document_of(folder) == document_of(before)
    old, now = load_student(before), load_student(folder)
    assert repr(now) == repr(old) and now.recommend(["u1", "u2"]).equals(old.recommend(["u1", "u2"]))
    if saves % 2:
        resume(folder)
    else:
        update(folder, new_block(2)[0])
    assert_same(folder, run_on(3), tmp_path)


@pytest.mark.parametrize("saves", [5, 6])
def test_interrupted_at_its_very_end(saves, copy_of, run_on, new_block):
    folder = copy_of(2)
    with pytest.raises(Killed), killed_after(saves):
        update(folder, new_block(2)[0])
    assert resume(folder).n_rows("teacher") == 3
    assert_same_documents(folder, run_on(3))
    # done, or done but for the end of it
    assert update(folder, new_block(2)[0]).n_blocks == 3


def test_another_block_waits_for_the_one_under_way(copy_of, run_on, new_block, tmp_path):
    folder = copy_of(2)
    with pytest.raises(Killed), killed_after(3):
        update(folder, new_block(3)[0])
    with pytest.raises(
        RunError, match=r"is under way; go on with it first by --resume=.*, or let go of it by"
    ):
        update(folder, new_block(2)[0])
    update(folder, new_block(2)[0], replace=True)
    update(folder, new_block(3)[0])
    assert_same(folder, run_on(4), tmp_path)


def test_an_update_is_done_once(copy_of, new_block, caplog):
    folder = copy_of(2)
    update(folder, new_block(2)[0])
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    result = update(folder, new_block(2)[0])
    assert result.n_blocks == 3
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


@pytest.mark.slow
def test_damaged_blocks_are_learned_again_without_the_data(copy_of, run_on, new_block, tmp_path):
    folder = copy_of(2)
    update(folder, new_block(2)[0])
    for k in (1, 2):
        (folder / "checkpoints" / f"block-{k}" / "student.pt").write_bytes(b"")
    (folder / "checkpoints" / "block-2" / "result.json").unlink()
    resume(folder)
    assert_same(folder, run_on(3), tmp_path)


def test_an_updated_run_can_be_served_and_moved(copy_of, run_on, new_block):
    folder = copy_of(2)
    update(folder, new_block(2)[0])
    folder = folder.rename(folder.with_name("moved"))
    served, whole = load_student(folder), load_student(run_on(3))
    users = whole.user_tokens[1:].tolist()
    assert served.block == 2 and served.recommend(users).equals(whole.recommend(users))
    teacher = load_student(folder, "teacher")
    assert teacher.recommend(users).equals(load_student(run_on(3), "teacher").recommend(users))


def test_stages_are_prepared_or_not(copy_of, run_on, new_block, tmp_path):
    folder = copy_of(2, prepare_update=False)
    assert not (folder / "checkpoints" / "stages").exists()
    update(folder, new_block(2)[0])
    assert not (folder / "checkpoints" / "stages").exists()
    update(copy_of(2, to="other"), new_block(2)[0])
    prepared = tmp_path / "other" / "checkpoints" / "stages" / "block-2-student_generation.pt"
    assert prepared.is_file()
    shutil.rmtree(prepared.parent)
    assert document_of(tmp_path / "other")["metrics"] == document_of(folder)["metrics"]


def test_without_a_run_directory_nothing_is_prepared(make_config):
    config = make_config(prepare_update=True, block_ratios=[0.6, 0.4], **teachers("BPR"))
    result = create_strategy(config).run(create_stream(config))
    assert result.n_rows("teacher") == 2 and result.stages[-1]["stage"] == "teacher_update"
