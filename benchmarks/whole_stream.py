"""A whole stream, with the time of each stage in each block and the peak memory of the process.

``python benchmarks/whole_stream.py --data_path=DIR`` follows the paper's own Yelp blocks with a teacher of
five LightGCN members, ten epochs a stage. What comes after ``--`` goes to the program as it is:
``python benchmarks/whole_stream.py --dataset=ml-100k --members=1 --epochs=2 -- --seed=7 --embedding_size=16``
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from stream_run import EVALUATION, LOADING, STAGES, StreamRun, run_stream
from tabulate import tabulate


def program_arguments(given: argparse.Namespace) -> list[str]:
    """The command line of the program that the benchmark's own asks for."""
    arguments = [f"--dataset={given.dataset}", f"--model={given.model}"]
    arguments += [f"--teacher_models=[{','.join([given.member] * given.members)}]"]
    arguments += [f"--epochs={given.epochs}", f"--base_epochs={given.epochs}"]
    arguments += [f"--student_generation_epochs={given.epochs}"]
    arguments += [f"--{key}={getattr(given, key)}" for key in ("data_path", "preset") if getattr(given, key)]
    return arguments + given.program


def stage_seconds(run: StreamRun, block: int, stage: str) -> float:
    """Seconds that result.json gives for a stage of a block, all members and pieces together."""
    stages = run.result["stages"]
    return sum(s["seconds"] for s in stages if s["block"] == block and s["stage"] == stage)


def table(run: StreamRun) -> str:
    """Seconds per block and stage; the rest is evaluation and writing, or loading in the first row."""
    header = ["block", *(stage.replace("_", " ") for stage in STAGES), "evaluation, other", "all"]
    rows = [["start", *[0.0] * len(STAGES), run.total(LOADING)]]
    for block in range(run.result["n_blocks"]):
        stages = [stage_seconds(run, block, stage) for stage in STAGES]
        rows.append([block, *stages, run.total(EVALUATION, block)])
    sums = [sum(row[column] for row in rows) for column in range(1, len(STAGES) + 1)]
    rows = [[*row, sum(row[1:])] for row in rows]
    rows.append(["sum", *sums, run.seconds - sum(sums), run.seconds])
    return tabulate(rows, header, floatfmt=".1f")


def summary(run: StreamRun) -> str:
    """Totals, memory and the last row of what was measured."""
    metric = run.result["primary_metric"]
    lines = [f"whole run: {run.seconds:.1f} s = {run.seconds / 60:.1f} min, imports and loading included"]
    lines += [f"peak resident memory of the process: {run.peak_mb:.0f} MB"]
    saving = run.saving["seconds"]
    share = f"{100 * saving / run.seconds:.2f} % of the run"
    lines += [f"saving checkpoints: {saving:.1f} s in {run.saving['saves']} times, {share}"]
    lines += [
        f"{role}: H-mean of {metric} after the last block {measured['H'][-1]:.4f}"
        for role, measured in run.result["metrics"][metric].items()
    ]
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the stream that the command line asks for and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--dataset", default="yelp-ccd")
    parser.add_argument("--data_path", default=None, help="the folder that holds the data set's")
    parser.add_argument("--model", default="LightGCN", help="the student")
    parser.add_argument("--member", default="LightGCN", help="the model of the teacher's members")
    parser.add_argument("--members", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=10, help="bound of every stage")
    parser.add_argument("--preset", default=None)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--quiet", action="store_true", help="do not repeat the program's log")
    parser.add_argument("program", nargs="*", help="after --: further arguments of the program")
    given = parser.parse_args(argv)
    arguments = program_arguments(given)
    print("python -m recbole_ccd", *arguments, flush=True)
    run = run_stream(arguments, given.threads, echo=not given.quiet)
    print(f"\nseconds\n\n{table(run)}\n\n{summary(run)}")


if __name__ == "__main__":
    main()
