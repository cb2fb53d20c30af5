import torch

from recbole_ccd.utils.seeding import derive_seed, deterministic, numpy_generator, seed_stage, torch_generator


def test_seeds_differ_by_purpose_and_repeat():
    seeds = {derive_seed(s, *p) for s in (1, 2) for p in ((), ("a",), ("a", 1), ("b", 1), ("a1",))}
    assert len(seeds) == 10 and all(0 <= seed < 2**32 for seed in seeds)
    assert derive_seed(1, "a", 1) == derive_seed(1, "a", 1)


def test_generators_are_their_own():
    torch.manual_seed(0)
    before = torch.get_rng_state()
    one, same = (torch_generator(3, "x").initial_seed() for _ in range(2))
    assert one == same == derive_seed(3, "x")
    assert numpy_generator(3, "x").random() == numpy_generator(3, "x").random()
    assert torch.equal(torch.get_rng_state(), before)


def test_a_stage_starts_from_its_own_seed():
    draws = []
    for noise in (0, 5):
        torch.rand(noise)
        seed_stage(1, True, "student_update", 2)
        draws.append(torch.rand(3))
    assert torch.equal(*draws)


def test_sums_over_threads_are_equal_bit_for_bit_and_the_flags_come_back():
    threads = torch.get_num_threads()
    torch.set_num_threads(4)
    generator = torch.Generator().manual_seed(0)
    rows, values = (
        torch.randint(50, (40_000,), generator=generator),
        torch.randn(40_000, 8, generator=generator),
    )
    try:
        with deterministic(True):
            assert torch.are_deterministic_algorithms_enabled()
            sums = [_gradient(rows, values) for _ in range(6)]
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(sums[0], other) for other in sums[1:])
    assert not torch.are_deterministic_algorithms_enabled()
    assert torch.utils.deterministic.fill_uninitialized_memory


def _gradient(rows, values):
    table = torch.zeros(50, 8, requires_grad=True)
    (table[rows] * values).sum().backward()
    return table.grad


def test_without_reproducibility_nothing_is_touched():
    with deterministic(False):
        assert not torch.are_deterministic_algorithms_enabled()
