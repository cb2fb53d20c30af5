"""Courses: what is written down in a member's training, and who goes on when."""

import pytest
import torch

from recbole_ccd.loss.curriculum import consensus_lists, list_distance
from recbole_ccd.plugin.distillation import DistillationObjective
from recbole_ccd.plugin.distillation.course import CourseRecorder
from recbole_ccd.plugin.distillation.curriculum import Curriculum
from recbole_ccd.ranking.topk import top_k
from tests.model.small_models import all_scores, scatter, small_model, state_of
from tests.plugin.distillation.rankings import TOP, fixed_teacher, rankings_of
from tests.plugin.stages import stage_trainer

USERS = torch.tensor([4, 9, 30])


def random_course(seed, n_lists, n_users=12):
    generator = torch.Generator().manual_seed(seed)
    lists = [torch.randperm(15, generator=generator)[:TOP] + 1 for _ in range(n_lists * n_users)]
    return torch.stack(lists).view(n_lists, n_users, TOP).to(torch.int32)


@pytest.fixture
def make_config_of(make_config):
    def make(**keys):
        return make_config("BPR", distill_curriculum="hetcomp", **keys)

    return make


def recorded(make_config, block, name="BPR", recording=True, **keys):
    """A trained member, its recorder, and its weights after each epoch."""
    config, model = small_model(make_config, name, block, distill_curriculum="hetcomp", **keys)
    states, recorder = {}, CourseRecorder()
    trainer = stage_trainer(config, model, block, "base", *([recorder] if recording else []))
    trainer.restore(None, lambda: states.update({trainer.epochs_run: state_of(model)}))
    torch.manual_seed(0)
    trainer.run(show_progress=False)
    return model, recorder, states


def own_lists(model, block):
    scores = all_scores(model)
    return top_k(lambda users: scores[users].clone(), torch.arange(block.n_users), 8, block.train_matrix)


@pytest.mark.parametrize("name", ["BPR", "MultiVAE"])
def test_a_member_is_trained_as_ever_and_its_lists_are_written_down(make_config, tiny_stream, name):
    block, keys = (
        tiny_stream[0],
        {"epochs": 6, "curriculum_lists": 2, "stopping_step": 9, "learning_rate": 0.01},
    )
    model, recorder, states = recorded(make_config, block, name, **keys)
    plain, _, _ = recorded(make_config, block, name, recording=False, **keys)
    assert all(torch.equal(value, plain.state_dict()[key]) for key, value in model.state_dict().items())
    # after 5 epochs with room for four every second one is left
    assert sorted(recorder._lists) == [2, 4]
    course = recorder.course(None)
    assert course.shape == (3, block.n_users, 8) and course.dtype == torch.int32
    assert torch.equal(course[-1][1:].long(), own_lists(model, block)[1:]) and not course[:, 0].any()
    for place, epoch in enumerate((2, 4)):
        model.load_state_dict(states[epoch])
        assert torch.equal(course[place][1:].long(), own_lists(model, block)[1:])
    assert torch.equal(recorder.course(4)[:1], course[:1]) and len(recorder.course(1)) == 1


def test_who_is_near_the_next_list_goes_on(make_config_of):
    config = make_config_of(curriculum_alpha=0.9, curriculum_decay=0.5)
    courses, last = [random_course(1, 3), random_course(2, 2)], random_course(3, 1)[0].long()
    curriculum = Curriculum(config, courses, last)
    for epoch in (1, 2):
        student, before = random_course(4 + epoch, 1)[0].long(), curriculum.places.clone()
        moved = curriculum.advance(student, epoch)
        for m, course in enumerate(courses):
            for user in range(len(last)):
                now = before[user, m].item()
                following = course[min(now + 1, len(course) - 1), user][None].long()
                step = list_distance(following, course[now, user][None].long()).item()
                left = list_distance(following, student[user][None]).item()
                expected = now + (step == 0 or step / left > 0.9 * 0.5**epoch) if left else now + 1
                assert curriculum.places[user, m] == min(expected, len(course) - 1)
        assert moved == (not torch.equal(before, curriculum.places)) and moved


def test_lists_are_those_of_the_places_and_at_last_the_teachers(make_config_of):
    courses, last = [random_course(1, 3), random_course(2, 2)], random_course(3, 1)[0].long()
    curriculum = Curriculum(make_config_of(), courses, last)
    first = consensus_lists([course[0].long() for course in courses], 0.05)
    assert torch.equal(curriculum.lists(), first)
    curriculum.places[5] = torch.tensor([2, 1])
    curriculum.places[6] = torch.tensor([2, 0])
    lists = curriculum.lists()
    assert torch.equal(lists[5], last[5]) and torch.equal(lists[:5], first[:5])
    assert torch.equal(
        lists[6:7], consensus_lists([courses[0][2, 6:7].long(), courses[1][0, 6:7].long()], 0.05)
    )
    curriculum.places[:] = torch.tensor([2, 1])
    assert curriculum.lists() is last


@pytest.fixture
def make_objective(make_config, tiny_stream):
    """Makes an objective on block 0 with courses that a member has gone through."""

    def make(courses=True, **keys):
        block = tiny_stream[0]
        settings = {"distill_user_weight": 0.5, "distill_item_weight": 0.0, "uninteresting_redraw": 2}
        settings |= {"distill_curriculum": "hetcomp", "curriculum_alpha": 0.8, **keys}
        config, model = small_model(make_config, "BPR", block, **settings)
        rankings = rankings_of(block, fixed_teacher(block))
        given = None
        if courses:
            steps = [rankings_of(block, fixed_teacher(block, seed)).top_items for seed in (1, 2)]
            given = [torch.stack([*steps, rankings.top_items]).to(torch.int32)]
        return DistillationObjective(config, model, rankings, block.train_matrix, 3, given)

    return make


@pytest.mark.parametrize(
    "keys", [{"distill_loss": ["rrd", "cd", "logits"]}, {"distill_augmentation": "mixup"}]
)
def test_the_losses_have_the_lists_of_the_places_also_after_a_break(make_objective, keys):
    objective, places = make_objective(**keys), []
    for epoch in range(5):
        objective.before_epoch(epoch)
        scatter(objective._task.model, seed=epoch)
        loss = next(iter(objective._losses._losses.values()))[1]
        assert torch.equal(loss.lists, objective._curriculum.lists())
        places.append(objective._curriculum.places.clone())
        if epoch == 2:
            state = objective.state_dict()
    assert torch.equal(places[0], places[1]) and not torch.equal(places[1], places[2])
    again = make_objective(**keys)
    again.load_state_dict(state)
    for epoch in (3, 4):
        scatter(again._task.model, seed=epoch - 1)
        again.before_epoch(epoch)
    scatter(again._task.model, seed=4)
    assert torch.equal(again._curriculum.places, places[4])
    assert torch.equal(again.user_loss(USERS), objective.user_loss(USERS))


def test_what_a_loss_learns_goes_on_from_list_to_list(make_objective):
    objective = make_objective(distill_loss="logits", curriculum_alpha=0.0)
    before = objective.parameters()
    with torch.no_grad():
        before[0].add_(0.5)
    for epoch in range(3):
        objective.before_epoch(epoch)
    assert objective._epoch == 2 and all(map(lambda one, other: one is other, before, objective.parameters()))


def test_at_the_end_of_all_courses_it_is_the_teacher(make_objective):
    plain = make_objective(courses=False, distill_loss="kl")
    objective = make_objective(curriculum_alpha=0.0, distill_loss="kl")
    assert not torch.equal(plain.user_loss(USERS), objective.user_loss(USERS))
    for epoch in range(5):
        objective.before_epoch(epoch)
    assert torch.equal(plain.user_loss(USERS), objective.user_loss(USERS))
