"""An update that is killed, at whatever moment, and asked for again by the same words."""

import pytest

from recbole_ccd import update
from recbole_ccd.checkpoint.file_store import FileStore
from recbole_ccd.cli import main
from recbole_ccd.utils.errors import ConfigError
from tests.checkpoint.cases import Killed, killed_after, weights_of
from tests.conftest import few
from tests.experiment.update.test_update_same_bits import assert_same_documents

WAYS = {
    "the whole block": ([], ["--new_block=new.inter"]),
    "the teacher follows": (["--new_block=new.inter", "--cycle=student"], []),
    "the student alone": ([], ["--new_block=new.inter", "--cycle=student"]),
    "another block in its place": (
        ["--new_block=wrong.inter", "--cycle=student"],
        ["--new_block=new.inter", "--replace=True"],
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("way", few(WAYS, "the teacher follows"))
def test_an_update_is_asked_for_until_it_is_done(way, copy_of, new_block, tmp_path):
    for name, k in (("new", 2), ("wrong", 3)):
        (tmp_path / f"{name}.inter").write_bytes(new_block(k)[0].read_bytes())
    first, words = WAYS[way]
    whole, folder = (copy_of(2, to=name) for name in ("whole", "run"))
    for run in (whole, folder):
        assert not first or main([f"--update={run}", *first]) == 0
    saves = []
    with pytest.MonkeyPatch.context() as patch:
        write = FileStore.write
        patch.setattr(FileStore, "write", lambda *given: saves.append(write(*given)))
        assert main([f"--update={whole}", *words]) == 0
    # at the beginning, and at the end, where the manifest says already that it is finished
    for number in sorted({1, *range(len(saves) - 2, len(saves) + 1)}):
        try:
            with killed_after(number):
                assert main([f"--update={folder}", *words]) == 0
        except Killed:
            assert main([f"--update={folder}", *words]) == 0
        # once more, now that it is done
        assert main([f"--update={folder}", *words]) == 0
        assert_same_documents(folder, whole)
        blocks = [
            {key: value for key, value in weights_of(run).items() if "/stages/" not in key[0]}
            for run in (folder, whole)
        ]
        # what is prepared ahead for the next block may be left to that
        assert blocks[0].keys() == blocks[1].keys()
        assert all(value.equal(blocks[1][key]) for key, value in blocks[0].items())
        folder = copy_of(2, to=f"run-{number}")
        assert not first or main([f"--update={folder}", *first]) == 0


def test_where_there_was_none_a_block_is_asked_for(copy_of):
    with pytest.raises(ConfigError, match="no block is open in .*; give new_block a file"):
        update(copy_of(2))
