"""Who has worked on a run stands in its manifest, in its report, and in nothing that must be the same."""

import json
import re
from datetime import datetime, timedelta, timezone

import pytest

from recbole_ccd import resume, run_ccd, write_report
from recbole_ccd.checkpoint import Manifest
from recbole_ccd.checkpoint.session import session
from recbole_ccd.report.html.sessions import session_terms
from tests.checkpoint.cases import TIMES
from tests.conftest import SMALL
from tests.report.pages import Read

KEYS = {**SMALL, "dataset": "tiny", "model": "BPR", "strategy": "fine_tune", "base": "plain"}


def test_what_a_process_is():
    found = session("cpu")
    began = datetime.fromisoformat(found["began"])
    assert timedelta(0) <= datetime.now(timezone.utc) - began < timedelta(minutes=1)
    assert set(found["versions"]) == {"Python", "recbole_ccd", "recbole", "torch", "numpy"}
    assert re.fullmatch(r".+, \d+ cores, \w+ \w+", found["machine"]) and found["threads"] >= 1
    assert found["device"] == "cpu" and found["command"]
    assert json.loads(json.dumps(found)) == found


def test_a_command_has_no_folders_of_programs(monkeypatch):
    monkeypatch.setattr("sys.orig_argv", ["/opt/env/bin/python3", "-m", "recbole_ccd", "--dataset=my data"])
    assert session("cpu")["command"] == "python3 -m recbole_ccd '--dataset=my data'"


def test_every_process_is_told(tiny_folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    keys = {**KEYS, "data_path": str(tiny_folder)}
    stages = []

    def stop(self, *arguments):
        stages.append(1)
        if len(stages) == 2:
            raise KeyboardInterrupt
        return save(self, *arguments)

    from recbole_ccd.checkpoint import CheckpointManager

    save = CheckpointManager.save_stage
    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(CheckpointManager, "save_stage", stop)
        run_ccd(config_dict={**keys, "run_dir": "cut"})
    resume("cut")
    run_ccd(config_dict={**keys, "run_dir": "whole"})
    sessions = {}
    for name in ("cut", "whole"):
        found = Manifest.read(tmp_path / name)
        assert found is not None
        sessions[name] = found[0].sessions
    assert [len(one) for one in sessions.values()] == [2, 1]
    documents = [json.loads((tmp_path / name / "result.json").read_text()) for name in ("cut", "whole")]
    for document in documents:
        for stage in document["stages"]:
            for key in TIMES:
                del stage[key]
        document["config"] = None
    assert documents[0] == documents[1]
    # a finished run is shown again, which is no work on it
    resume("cut")
    assert len(Manifest.read(tmp_path / "cut")[0].sessions) == 2
    text = Read(write_report("cut").read_text(encoding="utf-8")).text
    (first, second) = sessions["cut"]
    assert f"Begun {first['began'][:10]}" in text and f"Gone on with {second['began'][:10]}" in text
    assert f"Machine {first['machine']}" in text and f"Threads {first['threads']}" in text


def test_what_is_lacking_or_edited_is_left_out():
    assert session_terms([{"command": "x", "versions": [1], "threads": None}, 7]) == [[("Command", "x")]]
    assert session_terms([]) == []


def test_a_manifest_of_an_earlier_version_names_none(tmp_path):
    Manifest("run").write(tmp_path)
    document = json.loads((tmp_path / "manifest.json").read_text())
    assert document["sessions"] == []
    from recbole_ccd.checkpoint import manifest

    del document["sessions"], document["sha256"]
    document["sha256"] = manifest._checksum(document)
    (tmp_path / "manifest.json").write_text(json.dumps(document))
    assert Manifest.read(tmp_path)[0].sessions == []
