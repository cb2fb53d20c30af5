"""Runs that cannot be gone on with, by row of docs/errors.md.

Each function writes the folder ``begun`` of a run that was killed at its beginning, with something wrong.
"""

import json
import os

import pytest
import yaml

from recbole_ccd import CCDConfig
from recbole_ccd.checkpoint.compatibility import settings_of
from recbole_ccd.checkpoint.lock import RunLock
from recbole_ccd.checkpoint.manifest import BASE_MODELS, MANIFEST, PREVIOUS, RUN, Manifest, _checksum
from recbole_ccd.config.yaml_reader import merged
from tests.conftest import SMALL, SMALL_CCD
from tests.powers import skip_if_readable, skip_if_writable

KEYS = {
    **SMALL,
    **SMALL_CCD,
    "teacher_models": ["BPR", "MultiVAE"],
    "teacher_args": {},
    "block_ratios": [0.6, 0.4],
}


def begun_in(folder, changed=None, kind=RUN, **settings):
    """A run directory with a configuration and a manifest, and nothing else.

    ``changed`` is what somebody has put into ``config.yaml`` afterwards; ``settings`` were there before.
    """
    run = folder / "begun"
    run.mkdir()
    config = CCDConfig("BPR", "tiny", config_dict=merged(KEYS, settings)).to_dict()
    (run / "config.yaml").write_text(yaml.safe_dump({**config, **(changed or {})}))
    for _ in range(2):
        Manifest(kind, settings=settings_of(config), data={"blocks": [], "sha256": "0"}).write(run)
    return run


def load_manifest(*arguments, spoil=None, **how):
    """A case of going on with a run, with more arguments, after something has been done to it."""

    def write(folder):
        run = begun_in(folder, **how)
        if spoil is not None:
            spoil(run)
        # what the test gives as right is what the run was begun with
        return ["--resume=begun", *arguments]

    return write


def lock_of_another(run):
    (run / "lock").write_text("")
    (run / "lock").chmod(0o444)
    if os.access(run / "lock", os.W_OK):
        pytest.skip("permissions do not count here")


def without_manifest(run):
    for name in (MANIFEST, PREVIOUS):
        (run / name).unlink()
    (run / "result.json").write_text("{}")


def of_format_2(run):
    document = json.loads((run / MANIFEST).read_text())
    (run / MANIFEST).write_text(json.dumps({**document, "format": 2}))


def damaged(run):
    for name in (MANIFEST, PREVIOUS):
        (run / name).write_text((run / name).read_text()[:-20])


def with_settings_of_another_kind(run):
    for name in (MANIFEST, PREVIOUS):
        document = json.loads((run / name).read_text())
        del document["sha256"]
        document["settings"] = ["seed", 1]
        (run / name).write_text(json.dumps({**document, "sha256": _checksum(document)}))


def nested_deeply(run):
    for name in (MANIFEST, PREVIOUS):
        (run / name).write_text('{"a":' * 10**5)


def with_code(run):
    # which would tell the settings too
    for name in (MANIFEST, PREVIOUS):
        (run / name).unlink()
    (run / "config.yaml").write_text("seed: !!python/object/apply:os.system ['touch touched']\n")


def unreadable(run):
    (run / "config.yaml").chmod(0)
    skip_if_readable(run / "config.yaml")


def manifest_unreadable(run):
    (run / MANIFEST).chmod(0)
    skip_if_readable(run / MANIFEST)


def locked(run):
    run.chmod(0o500)
    skip_if_writable(run)


def with_link(run):
    (run.parent / "mine").write_text("mine")
    (run / "run.log").symlink_to(run.parent / "mine")


def in_use(folder):
    """A case of a run that somebody is at: this process, by another descriptor."""
    run = begun_in(folder)
    pytest.importorskip("fcntl")
    # nobody leaves it
    RunLock(run).__enter__()
    return ["--resume=begun"]


def in_a_run(folder):
    begun_in(folder)
    return ["--run_dir=begun"]


RESUMED = {
    "resume-nothing": lambda folder: ["--resume=nowhere"],
    "resume-no-name": lambda folder: ["--resume="],
    "report-not-alone": lambda folder: ["--report=run"],
    "resume-twice": lambda folder: ["--resume=a", "--resume=b"],
    "resume-old": load_manifest(spoil=without_manifest),
    "resume-format": load_manifest(spoil=of_format_2),
    "resume-damaged": load_manifest(spoil=damaged),
    "resume-settings-form": load_manifest(spoil=with_settings_of_another_kind),
    "resume-nested": load_manifest(spoil=nested_deeply),
    "resume-name": lambda folder: [f"--resume={'x' * 300}"],
    "resume-unreadable": load_manifest(spoil=unreadable),
    "resume-manifest-unreadable": load_manifest(spoil=manifest_unreadable),
    "resume-lock-of-another": load_manifest(spoil=lock_of_another),
    "resume-locked": load_manifest(spoil=locked),
    "resume-link": load_manifest(spoil=with_link),
    "resume-setting": load_manifest("--embedding_size=4"),
    "resume-setting-changed": load_manifest(changed={"distill_temperature": 3.0}),
    "resume-data": load_manifest(),
    "resume-code": load_manifest(spoil=with_code),
    "resume-base-models": load_manifest(kind=BASE_MODELS),
    "resume-in-use": in_use,
    "begin-in-a-run": in_a_run,
}
