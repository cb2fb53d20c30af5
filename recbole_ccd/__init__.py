"""Continual Collaborative Distillation for RecBole: a teacher and a student that evolve together."""

from recbole_ccd.utils.errors import CCDError, ConfigError, DataError, ModelError, RunError

__version__ = "0.2.0"

__all__ = [
    "BlockStream",
    "CCDConfig",
    "CCDError",
    "Comparison",
    "ConfigError",
    "DataError",
    "DistillationLoss",
    "IncrementalDataset",
    "ModelError",
    "Regularizer",
    "ReplayScheme",
    "RunError",
    "SearchResult",
    "StreamResult",
    "TeacherEnsemble",
    "TrainerPlugin",
    "compare",
    "create_strategy",
    "create_stream",
    "full_sort_scores",
    "full_sort_topk",
    "grow",
    "load_data_and_model",
    "load_student",
    "register",
    "resume",
    "run_ccd",
    "tune",
    "update",
    "write_report",
]

_HOMES = {
    "BlockStream": "recbole_ccd.data.stream",
    "CCDConfig": "recbole_ccd.config",
    "Comparison": "recbole_ccd.evaluation.comparison",
    "DistillationLoss": "recbole_ccd.plugin.distillation",
    "IncrementalDataset": "recbole_ccd.data.dataset",
    "Regularizer": "recbole_ccd.plugin.regularization",
    "ReplayScheme": "recbole_ccd.plugin.replay",
    "SearchResult": "recbole_ccd.experiment.search",
    "StreamResult": "recbole_ccd.evaluation.result",
    "TeacherEnsemble": "recbole_ccd.model.teacher",
    "TrainerPlugin": "recbole_ccd.plugin.base",
    "compare": "recbole_ccd.quick_start",
    "create_strategy": "recbole_ccd.quick_start",
    "create_stream": "recbole_ccd.quick_start",
    "full_sort_scores": "recbole_ccd.serving.case_study",
    "full_sort_topk": "recbole_ccd.serving.case_study",
    "grow": "recbole_ccd.model.growth",
    "load_data_and_model": "recbole_ccd.serving.case_study",
    "load_student": "recbole_ccd.serving",
    "register": "recbole_ccd.registry",
    "resume": "recbole_ccd.quick_start",
    "run_ccd": "recbole_ccd.quick_start",
    "tune": "recbole_ccd.quick_start",
    "update": "recbole_ccd.quick_start",
    "write_report": "recbole_ccd.report.writing",
}


def __getattr__(name: str) -> object:
    # importing RecBole takes seconds; `python run_ccd.py --help` and the errors need none of it
    if name in _HOMES:
        from importlib import import_module

        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'recbole_ccd' has no attribute '{name}'")
