"""What somebody may have meant by a name that nobody knows: a near one, or what RecBole calls it now."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

# a word and its slip of the pen share so much; less is a likeness by accident
_NEAR = 0.7

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
    # of its programs
    "params_file": "tune=FILE on the command line",
    "config_file_list": "config_files on the command line, or the argument config_file_list",
    "model_file": "resume=RUN_DIR, or load_student from Python",
    "checkpoint": "run_dir",
    "saved_model_file": "run_dir",
    # names that others use
    "batch_size": "train_batch_size or eval_batch_size",
    "lr": "learning_rate",
    "optimizer": "learner",
    "device": "use_gpu and gpu_id",
}
"""Names that mean something known by another one, and what to use instead of each."""


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word that a word may be a slip of the pen for; None if there is none."""
    by_lower = {entry.lower(): entry for entry in sorted(known)}
    found = difflib.get_close_matches(word.lower(), by_lower, n=1, cutoff=_NEAR)
    return by_lower[found[0]] if found else None


def suggestion(word: str, known: Iterable[str], otherwise: str) -> str:
    """The end of a message about a word that nobody knows.

    Args:
        word: the word.
        known: the words that there are.
        otherwise: the remedy where none of them is near.
    """
    near = nearest(word, known)
    return otherwise if near is None else f"did you mean '{near}'?"
