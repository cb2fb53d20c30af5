"""Files and folders of a run that cannot be used, by row of docs/errors.md."""

import os
import socket
from contextlib import contextmanager
from unittest.mock import patch

import pytest

from recbole_ccd import (
    CCDConfig,
    Comparison,
    StreamResult,
    compare,
    create_stream,
    resume,
    run_ccd,
    write_report,
)
from recbole_ccd.checkpoint import RunDirectory
from recbole_ccd.data.ccd_blocks import convert
from recbole_ccd.utils.atomic_files import load_tensors
from recbole_ccd.utils.parallel import cluster
from recbole_ccd.utils.parallel.ray_workers import RayWorkers
from tests.bad_input.resumed_cases import RESUMED, begun_in
from tests.evaluation.results import make_run
from tests.powers import skip_if_writable

# a hundred million values in ten lines
ALIASES = "base_student_args: {a0: &a0 [x]}\n" + "".join(
    f"x{n}: &a{n} [{', '.join(f'*a{n - 1}' for _ in range(8))}]\n" for n in range(1, 10)
)


def settings_file(content):
    """A case of one property file."""

    def write(folder):
        (folder / "mine.yaml").write_bytes(content)
        return ["--config_files=mine.yaml"]

    return write


def folder_for_file(folder):
    """A folder where the property file should be."""
    (folder / "mine").mkdir()
    return ["--config_files=mine"]


def settings_pipe(folder):
    """A pipe that nobody writes to."""
    os.mkfifo(folder / "mine.yaml")
    return ["--config_files=mine.yaml"]


def occupied(*arguments):
    """A case of a run directory in which something lies."""

    def write(folder):
        (folder / "occupied").mkdir()
        (folder / "occupied" / "precious.txt").write_text("mine")
        return ["--run_dir=occupied", *arguments]

    return write


def a_file(run_dir):
    """A case of a file where a folder should be."""

    def write(folder):
        (folder / "file").write_text("mine")
        return [f"--run_dir={run_dir}"]

    return write


def locked(run_dir):
    """A case of a folder that may not be written to."""

    def write(folder):
        (folder / "locked").mkdir(mode=0o500)
        skip_if_writable(folder / "locked")
        return [f"--run_dir={run_dir}"]

    return write


SETTINGS = {
    "no-settings-file": lambda folder: ["--config_files=mine.yaml"],
    "settings-are-a-folder": folder_for_file,
    "settings-not-utf8": settings_file(b"run_dir: \xff\n"),
    "settings-not-yaml": settings_file(b"seed: 1\ntopk: [5\n"),
    "settings-tab": settings_file(b"seed: 1\n\tepochs: 3\n"),
    "settings-twice": settings_file(b"epochs: 3\nseed: 1\nepochs: 4\n"),
    "settings-no-mapping": settings_file(b"- epochs\n- seed\n"),
    "settings-key-no-text": settings_file(b"1: 2\n"),
    "settings-inner-key-no-text": settings_file(b"teacher_args: {1: 2}\n"),
    "settings-without-end": settings_file(ALIASES.encode()),
    "settings-unknown-key": settings_file(b"epoch: 3\n"),
    "settings-wrong-value": settings_file(b"epochs: 0\n"),
    "settings-tag": settings_file(b"seed: 1\nuse_gpu: !!bool x\n"),
    "settings-tag-of-a-date": settings_file(b"run_dir: !!timestamp x\n"),
    "settings-tag-of-nothing": settings_file(b"seed: !!int ''\n"),
    "settings-binary": settings_file(b"run_dir: !!binary aGk=\n"),
    "settings-surrogate": settings_file(b'run_dir: "\\ud800"\n'),
    "settings-name": lambda folder: [f"--config_files={'x' * 300}"],
    "settings-are-a-device": lambda folder: ["--config_files=/dev/zero"],
    "settings-are-a-pipe": settings_pipe,
    "settings-with-code": settings_file(b"seed: !!python/object/apply:os.getpid []\n"),
}
RUNS = {
    "run-directory-in-use": occupied(),
    "comparison-directory-in-use": occupied("--strategy=static,fine_tune"),
    "run-directory-is-a-file": a_file("file"),
    "run-directory-below-a-file": a_file("file/run"),
    "run-directory-name": lambda folder: [f"--run_dir=new/{'x' * 300}"],
    "run-directory-locked": locked("locked"),
    "run-directory-below-a-locked-one": locked("locked/new/run"),
}
FOLDER_CASES = {**SETTINGS, **RUNS, **RESUMED}


def holding(folder, name, content):
    """A run directory in which one file has been spoilt."""
    (folder / name).write_bytes(content)
    return RunDirectory(folder)


def converted(folder, files):
    """A data set made of what is none."""
    (folder / "pickles").mkdir()
    for name, content in files.items():
        (folder / "pickles" / name).write_bytes(content)
    return convert(folder / "pickles", folder / "own")


@contextmanager
def silent_server():
    """An address where connections are accepted and nothing is said."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


def nobody_answers():
    """Workers of what is no cluster."""
    with patch.object(cluster, "_SECONDS_TO_ANSWER", 0.1), silent_server() as address:
        nobody_at(address)


def nobody_at(address):
    """Workers of a cluster that is not there."""
    pytest.importorskip("ray")
    with patch.dict(os.environ, RAY_ADDRESS=address), RayWorkers():
        pass


# what only the Python API can be given
def assign(key, value):
    CCDConfig()[key] = value


PYTHON_CASES = {
    "configuration-of-recbole": lambda _: create_stream({"epochs": 3}),
    "assigned-value": lambda _: assign("learning_rate", -1),
    "assigned-key": lambda _: assign("embeding", 3),
    "assigned-too-late": lambda _: assign("strategy", "static"),
    "assigned-attribute": lambda _: setattr(CCDConfig(), "epochs", 3),
    "folder-no-path": lambda _: resume({"epochs": 3}),
    "arguments-as-text": lambda _: run_ccd(argv="--epochs=3"),
    "settings-no-dictionary": lambda folder: CCDConfig(config_dict=3),
    "setting-key-no-text": lambda folder: CCDConfig(config_dict={1: 2}),
    "foreign-run-directory": lambda folder: resume(folder),
    "run-settings-damaged": lambda folder: holding(folder, "config.yaml", b"[1").read_config(),
    "run-settings-no-mapping": lambda folder: holding(folder, "config.yaml", b"[1]").read_config(),
    "run-document-damaged": lambda folder: holding(folder, "result.json", b"{").read_json("result.json"),
    "no-weights": lambda folder: load_tensors(folder / "student.pt"),
    "weights-damaged": lambda folder: load_tensors(holding(folder, "a.pt", b"PK\x03").path / "a.pt"),
    "foreign-result": lambda folder: StreamResult.from_dict({"format": 9}),
    "several-runs-as-one": lambda folder: run_ccd(config_dict={"strategy": ["static", "ccd"]}),
    "run-for-a-comparison": lambda folder: compare(resume=begun_in(folder)),
    "no-pickles": lambda folder: converted(folder, {}),
    "pickles-of-more": lambda folder: converted(folder, {"TASK_0.pickle": b"cposix\nmkdir\n(Vmade\ntR."}),
    "report-of-nothing": write_report,
    "report-damaged": lambda folder: write_report(holding(folder, "comparison.json", b"{}").path),
    "run-document-nested": lambda folder: holding(folder, "result.json", b"[" * 10**5).read_json(
        "result.json"
    ),
    "run-document-infinite": lambda folder: holding(folder, "result.json", b"[1e999]").read_json(
        "result.json"
    ),
    "run-settings-nested": lambda folder: holding(folder, "config.yaml", b"[" * 3000).read_config(),
    "run-settings-tag": lambda folder: holding(folder, "config.yaml", b"a: !!bool x").read_config(),
    "report-name": lambda folder: write_report("x" * 300),
    "ray-silent": lambda folder: nobody_answers(),
    "ray-unreachable": lambda folder: nobody_at("127.0.0.1:1"),
    "runs-that-do-not-fit": lambda folder: Comparison(
        {"a": [make_run(graph="cumulative")], "b": [make_run(graph="block")]}
    ),
}
