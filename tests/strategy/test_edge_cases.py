"""Streams that are odd but legitimate: all of them run to the end."""

import pytest

from recbole_ccd.plugin.replay.proxy_guided import ReplayDraws
from recbole_ccd.trainer import StageTrainer
from recbole_ccd.utils.errors import DataError
from tests.conftest import few
from tests.strategy.runs import block_rows, follow, teachers, triples, write_files

TINY_TEACHER = teachers("LightGCN", "MultiVAE")


@pytest.fixture
def run(make_config, tmp_path, monkeypatch):
    """Runs CCD on blocks given as files and checks that every value is there."""
    monkeypatch.chdir(tmp_path)

    def run(files, **keys):
        names = write_files(tmp_path, "files", files)
        settings = {**TINY_TEACHER, **keys}
        config = make_config(dataset="files", data_path=tmp_path, benchmark_filename=names, **settings)
        strategy = follow(config)
        n_blocks = len(strategy.states)
        for role in ("student", "teacher"):
            R = strategy.result.summary(role, "recall@5")["R"]
            assert [len(row) for row in R] == list(range(1, n_blocks + 1))
        return strategy

    return run


def two_blocks():
    return block_rows()[:2]


def new(strategy, kind):
    return strategy.result.new_entities(kind, "student", "recall@5")


def known(strategy):
    return [(entry["users"], entry["items"]) for entry in strategy.result.known]


@pytest.mark.slow
def test_more_student_updates_than_interactions(run):
    base, later = two_blocks()
    blocks = triples([base, []]) | {"b1.train": later[:3], "b1.valid": later[3:4], "b1.test": base[9:10]}
    strategy = run(blocks, student_updates_per_block=10)
    assert sum(stage["stage"] == "student_update" for stage in strategy.result.stages) == 3


def test_blocks_without_new_users_without_new_items_and_without_either(run):
    base, later = two_blocks()
    users, items = ({row[k] for row in base} for k in (0, 1))
    no_users = [row for row in later[::2] if row[0] in users]
    items |= {item for _, item in no_users}
    no_items = [row for row in later[1::2] if row[1] in items]
    strategy = run(triples([base, no_users, no_items, base[::3]]))
    counts = known(strategy)
    assert counts[1][0] == counts[0][0] and new(strategy, "users")[1] is None
    assert counts[1][1] > counts[0][1]
    assert counts[2][1] == counts[1][1] and new(strategy, "items")[2] is None
    assert counts[2][0] > counts[1][0]
    assert counts[3] == counts[2]


def test_a_new_user_with_one_interaction_and_three_student_updates_within_a_block(run):
    base, later = two_blocks()
    strategy = run({"b0": base, "b1": [*later, ("once", "i3")]}, student_updates_per_block=3)
    users = {user for user, _ in base + later} | {"once"}
    assert (
        strategy.states[1]["student"]["user_embedding.weight"].shape[0]
        == known(strategy)[1][0] + 1
        == len(users) + 1
    )
    stages = [(stage["block"], stage["stage"]) for stage in strategy.result.stages]
    assert stages.count((1, "student_update")) == 3 and stages.count((1, "teacher_update")) == 2


def test_a_base_block_and_a_later_one_with_nothing_to_validate_on(run):
    base, later = two_blocks()
    files = triples([base, later[:400], later[400:]]) | {"b0.valid": [], "b2.valid": []}
    strategy = run(files, epochs=2)
    epochs = {stage["epochs"] for stage in strategy.result.stages if stage["block"] != 1}
    assert epochs == {2}


def test_blocks_in_which_no_earlier_user_is_active_and_that_share_nothing_with_the_past(run):
    base, later = two_blocks()
    new_users = [(f"new-{user}", item) for user, item in later]
    strangers = [(f"other-{user}", f"other-{item}") for user, item in later]
    strategy = run(triples([base, new_users, later, strangers]))
    counts = known(strategy)
    assert counts[1][0] > counts[0][0] and counts[3][0] > counts[2][0] and counts[3][1] > counts[2][1]


def test_interactions_that_repeat(run):
    base, later = (triples([rows]) for rows in two_blocks())
    twice = {
        f"b{k}.{part}": rows[f"b0.{part}"]
        for k, rows in enumerate((base, later))
        for part in ("train", "valid", "test")
    }
    for k in (0, 1):
        repeated = twice[f"b{k}.train"][:20]
        twice[f"b{k}.train"] = twice[f"b{k}.train"] + repeated
        twice[f"b{k}.test"] = twice[f"b{k}.test"] + repeated[:5]
    run(twice)


@pytest.mark.parametrize("student", few(["LightGCN", "NeuMF"], "LightGCN"))
def test_a_catalogue_smaller_than_every_list(run, student):
    rows = [(f"u{u}", f"i{(u + 3 * n) % 12}") for n in range(6) for u in range(30 + n)]
    lists = {
        "distill_top_k": 40,
        "exclusion_top_k": 40,
        "student_replay_candidates": 100,
        "teacher_replay_candidates": 100,
    }
    draws = {
        f"{role}_replay_{proxy}": 30
        for role in ("student", "teacher")
        for proxy in ("stability", "plasticity")
    }
    sizes = (
        {"embedding_size": 8} if student == "LightGCN" else {"mf_embedding_size": 8, "mlp_embedding_size": 8}
    )
    make = {
        "similarity_degree": 50,
        "piw_clusters": 30,
        "n_popular_neighbors": 500,
        **lists,
        **draws,
        **sizes,
    }
    run({"b0": rows[:100], "b1": rows[100:]}, model=student, n_uninteresting_items=10_000, **make)


@pytest.mark.parametrize(("greedy_in", "updates"), [(0, 1), (1, 1), (1, 2)])
def test_a_user_who_has_taken_everything_is_told_of_before_any_training(run, monkeypatch, greedy_in, updates):
    monkeypatch.setattr(StageTrainer, "run", lambda *_: pytest.fail("something was trained"))
    items = [f"i{i}" for i in range(6)]
    rows = [(f"u{u}", items[(u + n) % 6]) for n in range(4) for u in range(30)]
    files = triples([rows, rows])
    files[f"b{greedy_in}.train"] = [*files[f"b{greedy_in}.train"], *(("u0", item) for item in items)]
    with pytest.raises(
        DataError, match=f"user 'u0' has interacted with all 6 items known in block {greedy_in}"
    ):
        run(files, student_updates_per_block=updates)


def test_a_user_who_has_taken_everything_is_no_trouble_without_negatives(run):
    items = [f"i{i}" for i in range(6)]
    rows = [(f"u{u}", items[(u + n) % 6]) for n in range(4) for u in range(30)] + [
        ("u0", item) for item in items
    ]
    run(triples([rows, rows]), model="ENMF", **teachers("MultiVAE"))


def test_without_replay_and_exclusion(run):
    nothing = {
        f"{role}_replay_{proxy}": 0
        for role in ("student", "teacher")
        for proxy in ("stability", "plasticity")
    }
    run(
        triples(two_blocks()),
        exclusion_top_k=0,
        teacher_replay_student=0,
        distill_user_weight=0,
        distill_item_weight=0,
        **nothing,
    )


@pytest.mark.slow
@pytest.mark.parametrize("updates", [1, 3])
def test_replay_may_rank_with_the_distilled_student_though_items_are_new(run, monkeypatch, updates):
    drawn_with, draw = [], ReplayDraws.draw

    def spy(self, live, epoch):
        drawn_with.append((live.n_users, live.n_items))
        return draw(self, live, epoch)

    monkeypatch.setattr(ReplayDraws, "draw", spy)
    files = {f"b{k}": rows for k, rows in enumerate(two_blocks())}
    strategy = run(files, replay_rank_student="distilled", student_updates_per_block=updates, epochs=2)
    before, after = [(users + 1, items + 1) for users, items in known(strategy)]
    assert before[0] < after[0] and before[1] < after[1]
    # the student's stages rank with what stage 1 left, whatever the piece; the two members with themselves
    assert drawn_with == [before] * updates + [after] * 2


def test_the_papers_preset_runs(run):
    files = {f"b{k}": rows for k, rows in enumerate(two_blocks())}
    run(
        files,
        preset="paper-yelp",
        teacher_models=["LightGCN", "LightGCN"],
        teacher_args={"embedding_size": 16},
    )
