"""A finished run in which something is damaged: restored from what else it holds, or named."""

import json
import shutil

import pytest
import yaml

from recbole_ccd import compare, load_student, run_ccd
from recbole_ccd.checkpoint.manifest import FINISHED, MANIFEST, PREVIOUS, Manifest
from recbole_ccd.cli import main
from recbole_ccd.strategy.loop import BlockLoop
from recbole_ccd.utils.errors import RunError
from tests.checkpoint.cases import Killed, assert_same_run, document_of, killed_after, settings_of
from tests.checkpoint.test_manager import cut, flip

LAST = "checkpoints/block-2"


@pytest.fixture
def whole(place, tmp_path, monkeypatch):
    """The run that ended, to be spoilt, in a working folder of its own."""
    monkeypatch.chdir(tmp_path)
    return shutil.copytree(place / "whole", tmp_path / "whole")


@pytest.fixture
def no_data(monkeypatch):
    """Nothing may be read but the run directory, and nothing be learned."""

    def refuse(*_):
        raise AssertionError("this needs no data")

    monkeypatch.setattr("recbole_ccd.quick_start.create_stream", refuse)
    monkeypatch.setattr(BlockLoop, "_run_block", refuse)


def everything_in(folder):
    left_out = ("run.log", "manifest.json", "manifest.previous.json")
    below = [path for path in folder.rglob("*") if path.is_file() and "tfevents" not in path.name]
    files = [path for path in below if path.name not in left_out]
    found = {str(path.relative_to(folder)): path.read_bytes() for path in files}
    # in the order of keys that it happens to be in
    return {**found, "config.yaml": yaml.safe_load(found["config.yaml"])}


def missing(path):
    path.unlink()


def empty(path):
    path.write_bytes(b"")


def edited(path):
    """Somebody has made a figure better."""
    document = json.loads(path.read_text())
    document["metrics"]["recall@5"]["student"]["R"][2][0] = 0.99
    path.write_text(json.dumps(document))


def other_document(path):
    path.write_text('{"format": 1}')


def with_code(path):
    path.write_text("seed: !!python/object/apply:os.system ['touch touched']\n")


def without_its_end(path):
    """What is left can be read."""
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[: len(lines) // 2]))


RESTORED = [
    *[("result.json", spoil) for spoil in (missing, empty, cut, edited, other_document)],
    *[("config.yaml", spoil) for spoil in (missing, empty, with_code, without_its_end)],
    *[(f"{LAST}/result.json", spoil) for spoil in (missing, flip)],
    *[(f"{LAST}/serving.pt", spoil) for spoil in (missing, flip)],
]


@pytest.mark.parametrize(("name", "spoil"), RESTORED)
def test_what_is_there_twice_is_restored(name, spoil, whole, place, no_data, caplog, capsys):
    spoil(whole / name)
    assert main([f"--resume={whole}"]) == 0
    assert "the run is finished" in capsys.readouterr().err
    (warning,) = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
    assert f"{whole / name} " in warning
    before = everything_in(place / "whole")
    assert everything_in(whole) == before and not (whole.parent / "touched").exists()
    # once is enough
    caplog.clear()
    assert main([f"--resume={whole}"]) == 0
    assert not [r for r in caplog.records if r.levelname == "WARNING"]


@pytest.mark.parametrize("spoil", [missing, empty, cut, edited])
def test_a_report_shows_what_was_measured(spoil, whole, place, no_data, caplog):
    assert main([f"--report={whole}"]) == 0
    page = (whole / "report.html").read_bytes()
    spoil(whole / "result.json")
    assert main([f"--report={whole}"]) == 0
    assert (whole / "report.html").read_bytes() == page
    assert f"{whole / 'result.json'} " in caplog.text and "it is restored from" in caplog.text
    assert (whole / "result.json").read_bytes() == (place / "whole" / "result.json").read_bytes()


def test_so_it_does_while_a_run_is_under_way(part, place, caplog):
    (part / "result.json").write_text("{")
    assert main([f"--report={part}"]) == 0
    assert "result.json cannot be read" in caplog.text and "it is restored from" in caplog.text
    assert (part / "result.json").read_bytes() == (place / "part" / "result.json").read_bytes()


@pytest.mark.parametrize("spoil", [missing, empty, cut, flip])
def test_a_damaged_manifest_is_told_wherever_it_is_read(spoil, whole, place, caplog):
    (whole / "users.txt").write_text("u1\n")
    users = [f"--users={whole / 'users.txt'}", f"--output={whole.parent / 'out.csv'}"]
    spoil(whole / MANIFEST)
    for arguments in ([f"--recommend={whole}", *users], [f"--report={whole}"], [f"--resume={whole}"]):
        caplog.clear()
        assert main(arguments) == 0
        told = f"{whole / MANIFEST} " in caplog.text and "going on from the one before" in caplog.text
        # a report mends it
        assert told or arguments[0].startswith("--resume")
    assert Manifest.read(whole)[1] is None and Manifest.read(whole)[0].status == FINISHED
    assert_same_run(place / "whole", whole)


def test_the_one_before_stays_when_a_damaged_one_is_replaced(whole):
    before = (whole / PREVIOUS).read_bytes()
    manifest, _ = Manifest.read(whole)
    cut(whole / MANIFEST)
    manifest.write(whole)
    assert (whole / PREVIOUS).read_bytes() == before and Manifest.read(whole) == (manifest, None)


LEARNED = [f"{LAST}/student.pt", f"{LAST}/teacher-0.pt", "result.json", "vocabulary.json"]


@pytest.mark.parametrize("name", [*LEARNED, "checkpoints/interactions/block-1.pt"])
def test_what_is_there_once_is_made_anew_of_the_data(name, whole, place, caplog):
    cut(whole / name)
    if name == "result.json":
        cut(whole / LAST / name)
    assert main([f"--resume={whole}"]) == 0
    assert str(whole / LAST / name if name == "result.json" else whole / name) in caplog.text
    assert_same_run(place / "whole", whole)
    names = ["vocabulary.json", "checkpoints/interactions/block-1.pt"]
    assert [(whole / name).read_bytes() for name in names] == [
        (place / "whole" / name).read_bytes() for name in names
    ]


@pytest.mark.parametrize(("name", "role"), [("serving.pt", "student"), ("teacher-0.pt", "teacher")])
def test_until_then_serving_says_how(name, role, whole):
    cut(whole / LAST / name)
    message = f"{name} is damaged .*; restore it by --resume={whole}, or from a copy"
    with pytest.raises(RunError, match=message):
        load_student(whole, role)
    assert main([f"--resume={whole}"]) == 0
    load_student(whole, role)


def test_what_only_helps_where_other_things_are_damaged_is_named(whole, no_data, caplog):
    cut(whole / "checkpoints" / "block-1" / "student.pt")
    assert main([f"--resume={whole}"]) == 0
    assert (
        "block-1/student.pt is damaged" in caplog.text and "nothing that is finished needs it" in caplog.text
    )


def test_settings_come_from_the_manifest_where_no_block_is_finished(tiny_folder, place, tmp_path, caplog):
    settings = settings_of("ccd-bpr", tiny_folder, tmp_path / "run")
    with pytest.raises(Killed), killed_after(2):
        run_ccd(config_dict=settings)
    (tmp_path / "run" / "config.yaml").unlink()
    assert main([f"--resume={tmp_path / 'run'}", f"--data_path={tiny_folder}"]) == 0
    assert f"the settings are taken from {tmp_path / 'run' / MANIFEST}" in caplog.text
    # in what does not matter it may differ
    one, other = (document_of(folder)["metrics"] for folder in (place / "whole", tmp_path / "run"))
    assert one == other
    assert yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())["data_path"] == str(tiny_folder)


def test_without_any_manifest_a_report_shows_what_is_there(whole, caplog):
    for name in (MANIFEST, PREVIOUS):
        cut(whole / name)
    edited(whole / "result.json")
    assert main([f"--report={whole}"]) == 0
    assert "the figures are held against nothing" in caplog.text


@pytest.fixture(scope="module")
def compared(tiny_folder, tmp_path_factory):
    """A finished comparison of two short runs."""
    folder = tmp_path_factory.mktemp("compared") / "top"
    settings = {**settings_of("static", tiny_folder, folder), "base": "plain", "block_ratios": [0.6, 0.4]}
    compare(config_dict={**settings, "strategy": ["static", "fine_tune"], "write_report": True})
    return folder


def better(path):
    """Somebody has made figures better."""
    path.write_text(path.read_text().replace("0.1", "0.9"))


@pytest.mark.parametrize("how", ["--report", "--resume"])
@pytest.mark.parametrize("spoil", [missing, cut, better])
def test_a_comparison_shows_what_its_runs_have_measured(how, spoil, compared, tmp_path, caplog):
    top = shutil.copytree(compared, tmp_path / "top")
    spoil(top / "comparison.json")
    # and so do these
    better(top / "static-2020" / "result.json")
    (top / "report.html").unlink()
    assert main([f"{how}={top}"]) == 0
    for name in ("comparison.json", "static-2020/result.json", "report.html"):
        assert (top / name).read_bytes() == (compared / name).read_bytes(), name
    assert "static-2020/result.json is not what was measured" in caplog.text


def test_that_one_of_its_runs_was_updated_since_is_no_damage(compared, tmp_path, caplog):
    top = shutil.copytree(compared, tmp_path / "top")
    rows = [f"u{u}\ti{i}\t{2000 + u}\n" for u in range(8) for i in range(0, 60, 4)]
    (tmp_path / "new.inter").write_text("user_id:token\titem_id:token\ttimestamp:float\n" + "".join(rows))
    assert main([f"--update={top / 'static-2020'}", f"--new_block={tmp_path / 'new.inter'}"]) == 0
    before = (top / "comparison.json").read_bytes()
    caplog.clear()
    assert main([f"--report={top}"]) == 0
    assert (top / "comparison.json").read_bytes() == before
    assert not [r for r in caplog.records if r.levelname == "WARNING"]


@pytest.mark.parametrize("name", ["result.json", f"{LAST}/result.json", f"{LAST}/serving.pt", "config.yaml"])
def test_an_update_restores_too(name, whole, place, tmp_path, no_data):
    cut(whole / name)
    # refused, once everything has been looked at
    (tmp_path / "new.inter").write_text("user_id:token\titem_id:token\ttimestamp:float\nu1\ti1\t2000\n")
    assert main([f"--update={whole}", f"--new_block={tmp_path / 'new.inter'}"]) == 2
    assert everything_in(whole) == everything_in(place / "whole")
