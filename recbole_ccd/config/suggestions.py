"""What somebody may have meant by a name that nobody knows: a near one, or what RecBole calls it now."""

from __future__ import annotations

from collections.abc import Iterable

# letters of a word for each slip of the pen in it; with more slips a likeness is by accident
_LETTERS_PER_SLIP = 5
# of a word that is a part of another one
_LEAST_LETTERS = 5

COUNTERPARTS = {
    # of earlier versions of RecBole
    "neg_sampling": "train_neg_sample_args",
    "training_neg_sample_num": "train_neg_sample_args.sample_num",
    "training_neg_sample_distribution": "train_neg_sample_args.distribution",
    "eval_setting": "eval_args",
    "split_ratio": "eval_args.split, such as {RS: [0.8, 0.1, 0.1]}",
    "leave_one_num": "eval_args.split, such as {RS: [0.8, 0.1, 0.1]}",
    "group_by_user": "eval_args.group_by",
    "group_by": "eval_args.group_by",
    "min_user_inter_num": "user_inter_num_interval, such as '[5,inf)'",
    "max_user_inter_num": "user_inter_num_interval, such as '[0,5]'",
    "min_item_inter_num": "item_inter_num_interval, such as '[5,inf)'",
    "max_item_inter_num": "item_inter_num_interval, such as '[0,5]'",
    "lowest_val": "val_interval, such as {rating: '[4,inf)'}",
    "highest_val": "val_interval, such as {rating: '[0,4]'}",
    "equal_val": "val_interval, such as {rating: '[4,4]'}",
    "not_equal_val": "val_interval, such as {rating: '[0,4);(4,5]'}",
    "fields_in_same_space": "alias_of_user_id or alias_of_item_id",
    "eval_neg_sample_args": "eval_args.mode, which is full",
    # of its programs
    "params_file": "tune=FILE on the command line",
    "tool": "tune=FILE on the command line, with tune_algorithm",
    "algo": "tune=FILE on the command line, with tune_algorithm",
    "max_evals": "tune=FILE on the command line, with tune_trials",
    "output_file": "run_dir, in which a search writes trials.md",
    "offset": "parallel",
    "config_file_list": "config_files on the command line, or the argument config_file_list",
    "model_file": "resume=RUN_DIR, or load_student from Python",
    "checkpoint": "run_dir",
    "saved_model_file": "run_dir",
    # names that others use
    "batch_size": "train_batch_size or eval_batch_size",
    "lr": "learning_rate",
    "optimizer": "learner",
    "device": "use_gpu and gpu_id",
    "num_epochs": "epochs",
    "n_epochs": "epochs",
    "max_epochs": "epochs",
    "patience": "stopping_step",
    "early_stopping": "stopping_step",
    "early_stop": "stopping_step",
    "embedding_dim": "embedding_size",
    "emb_size": "embedding_size",
    "emb_dim": "embedding_size",
    "l2_reg": "weight_decay",
    "data_dir": "data_path",
    "random_seed": "seed",
}
"""Names that mean something known by another one, and what to use instead of each."""


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word that a word may be a slip of the pen for; None if there is none.

    That is one with few letters missing, added, changed or exchanged (one in five), one of the same parts in
    another order, such as ``rate_learning``, the only one that begins or ends like it, or a long one that it
    ends with itself, such as ``mlp_embedding_size``.
    """
    by_lower = {entry.lower(): entry for entry in sorted(known)}
    word = word.lower()
    most = max(len(word) // _LETTERS_PER_SLIP, 1)
    slips = {entry: _slips(word, entry) for entry in by_lower if abs(len(entry) - len(word)) <= most}
    best = min(slips, key=slips.__getitem__, default=None)
    if best is not None and slips[best] <= most:
        return by_lower[best]
    found = [entry for entry in by_lower if sorted(entry.split("_")) == sorted(word.split("_"))]
    if not found and len(word) >= _LEAST_LETTERS:
        slips = {entry: min(_slips(word, end) for end in _ends(entry)) for entry in by_lower if "_" in entry}
        least = min(slips.values(), default=most + 1)
        found = [entry for entry in slips if slips[entry] == least <= most]
    if not found:
        inside = [entry for entry in by_lower if word.endswith(f"_{entry}")]
        found = [entry for entry in inside if len(entry) > len(word) // 2]
    return by_lower[found[0]] if len(found) == 1 else None


def _ends(word: str) -> list[str]:
    """The first parts of a word, and the last ones."""
    parts = word.split("_")
    cuts = range(1, len(parts))
    return [*("_".join(parts[:n]) for n in cuts), *("_".join(parts[n:]) for n in cuts)]


def _slips(word: str, meant: str) -> int:
    """Letters missing, added, changed, or exchanged with the next one (optimal string alignment)."""
    before: list[int] = []
    row = list(range(len(meant) + 1))
    for i, letter in enumerate(word, 1):
        before, last, row = row, before, [i]
        for j, other in enumerate(meant, 1):
            least = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (letter != other))
            if i > 1 and j > 1 and letter == meant[j - 2] and word[i - 2] == other:
                least = min(least, last[j - 2] + 1)
            row.append(least)
    return row[-1]


def suggestion(word: str, known: Iterable[str], otherwise: str) -> str:
    """The end of a message about a word that nobody knows.

    Args:
        word: the word.
        known: the words that there are.
        otherwise: the remedy where none of them is near.
    """
    near = nearest(word, known)
    return otherwise if near is None else f"did you mean '{near}'?"
