"""Prints what default runs have measured, and how far two of them are apart.

``python .ci/figures.py RUN_DIR [RUN_DIR]`` ends with 1 where they differ by more than the README says.
"""

import json
import re
import sys
from pathlib import Path

_SENTENCE = r"single entries by up to ([\d.]+), H by up to about ([\d.]+) \(student\) or ([\d.]+) \(teacher\)"
_ROLES = ("student", "teacher")


def allowed() -> dict[str, float]:
    """What the README says of entries of R, and of H by role.

    Raises:
        SystemExit: where it does not say so in these words.
    """
    readme = Path(__file__).parents[1].joinpath("README.md").read_text(encoding="utf-8")
    found = re.search(_SENTENCE, " ".join(readme.split()))
    if found is None:
        raise SystemExit(f"README.md does not say by how much runs may differ, in these words: {_SENTENCE}")
    return dict(zip(("R", "H student", "H teacher"), map(float, found.groups()), strict=True))


def apart(one: list, other: list) -> float:
    """The largest difference of two nested lists of numbers, in which None stands for what there is not."""
    if isinstance(one, list):
        return max((apart(*pair) for pair in zip(one, other, strict=True)), default=0.0)
    assert (one is None) == (other is None)
    return 0.0 if one is None else abs(one - other)


def main(folders: list[str]) -> int:
    """Shows and compares.

    Args:
        folders: the run directories.

    Returns:
        The exit code.
    """
    limits = allowed()
    measured = []
    for folder in folders:
        document = json.loads(Path(folder, "result.json").read_text(encoding="utf-8"))
        measured.append(document["metrics"][document["primary_metric"]])
        for role in _ROLES:
            figures = "  ".join("-" if h is None else f"{h:.4f}" for h in measured[-1][role]["H"])
            print(f"{folder}: H of {role}: {figures}")
    if len(measured) == 1:
        return 0
    one, other = measured
    found = {"R": max(apart(one[role]["R"], other[role]["R"]) for role in _ROLES)}
    found |= {f"H {role}": apart(one[role]["H"], other[role]["H"]) for role in _ROLES}
    for name, difference in found.items():
        print(f"largest difference in {name}: {difference:.4f} (README: {limits[name]})")
    return int(any(difference > limits[name] for name, difference in found.items()))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
