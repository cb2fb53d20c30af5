"""Searches that cannot be made, by row of docs/errors.md."""

from pathlib import Path

FILE = "my.hyper"
FINE = "embedding_size choice [4, 8]\n"


def file_of(text):
    """A case of one file."""
    return lambda: (Path(FILE).write_text(text, encoding="utf-8"), [f"--tune={FILE}"])[1]


def beside(*arguments, text=FINE):
    """A case of arguments beside a file."""
    return lambda: [*file_of(text)(), *arguments]


def not_utf8():
    Path(FILE).write_bytes(b"embedding_size choice [8] # \xff\n")
    return [f"--tune={FILE}"]


REFUSED = {
    "no file is named": lambda: ["--tune="],
    "an argument without a value": lambda: ["--tune"],
    "a file that is not there": lambda: ["--tune=nowhere.hyper"],
    "a device": lambda: ["--tune=/dev/zero"],
    "a file that is not UTF-8": not_utf8,
    "a file without a key": file_of("# nothing yet\n\n"),
    "a key without values": file_of("# one\n\nembedding_size choice\n"),
    "what is no key": file_of("teacher_args..a choice [1]\n"),
    "a kind that there is not": file_of("embedding_size randint 1,5\n"),
    "no list of choices": file_of("embedding_size choice 8\n"),
    "a choice that is no setting": file_of("embedding_size choice [1e999]\n"),
    "a choice twice": file_of("embedding_size choice [8,16,8]\n"),
    "no range": file_of("student_replay_weight uniform 0\n"),
    "a range the wrong way round": file_of("student_replay_weight uniform 1,0\n"),
    "steps that do not fit": file_of("embedding_size quniform 5,7,10\n"),
    "steps far smaller than the range": beside("--tune_algorithm=random", text="reg quniform 0,1,1e-320\n"),
    "a range without a middle": beside("--tune_algorithm=random", text="reg uniform -1e308,1e308\n"),
    "no logarithms": file_of("embedding_size loguniform 64,1024\n"),
    "a key twice": file_of("epochs choice [1,2]\nembedding_size choice [8]\nepochs choice [3]\n"),
    "a dictionary and a key of it": file_of("teacher_args.a choice [1]\nteacher_args choice [{a: 2}]\n"),
    "a key that nothing reads": file_of("embeding_size choice [8]\n"),
    "a value that cannot be used": file_of("epochs choice [1,2]\nembedding_size choice [8,-8]\n"),
    "a key in which all trials agree": file_of("topk choice [10, 20]\n"),
    "the seed": file_of("seed choice [1,2]\n"),
    "a key that is set too": beside("--embedding_size=8"),
    "the test part": beside("--eval_part=test"),
    "several strategies": beside("--strategy=ccd,fine_tune"),
    "a range in an exhaustive search": file_of("student_replay_weight uniform 0,1\n"),
    "too many combinations": file_of(
        "".join(f"{key} choice {list(range(1, 51))}\n" for key in ("epochs", "eval_step", "stopping_step"))
    ),
    "a number of trials in an exhaustive search": beside("--tune_trials=3"),
    "no number of trials": beside("--tune_algorithm=random", "--tune_trials=0"),
    "an algorithm that there is not": beside("--tune_algorithm=bayes"),
    "a search that is resumed": beside("--resume=begun"),
    "a model that cannot work in one of the trials": beside(
        "--model=LightGCN", "--growth=predictions", text="n_layers choice [2,3]\n"
    ),
    "too few blocks": beside("--block_ratios=[1.0]"),
}
