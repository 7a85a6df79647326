"""Multi-scenario click-through-rate models: one model for a home feed, a search page and an ads slot.

The scikit-learn way::

    model = optmsm.OptMsmClassifier(scenario="tab").fit(train, "click")
    model.predict_proba(test)

The engine's way, with the files of the program ``optmsm``::

    config = optmsm.Config.guess(train, label="click", scenario="tab")
    run = optmsm.train(config, "runs/first", data=train, valid=valid)
    run.evaluate(test)
"""

from typing import TYPE_CHECKING, Any

from . import callbacks
from ._internal import __version__
from ._results import Comparison, Evaluation, Page
from .config import Config
from .errors import (
    ArgumentError,
    ConfigError,
    DataError,
    DeviceError,
    DivergedError,
    Error,
    FileError,
    Stopped,
)
from .run import Run
from .scorer import Scorer
from .studies import bench, compare, models, recipe, recipes, synth, tune
from .training import resume, train

if TYPE_CHECKING:
    from .estimator import OptMsmClassifier

__all__ = [
    "ArgumentError",
    "Comparison",
    "Config",
    "ConfigError",
    "DataError",
    "DeviceError",
    "DivergedError",
    "Error",
    "Evaluation",
    "FileError",
    "OptMsmClassifier",
    "Page",
    "Run",
    "Scorer",
    "Stopped",
    "__version__",
    "bench",
    "callbacks",
    "compare",
    "models",
    "recipe",
    "recipes",
    "resume",
    "synth",
    "train",
    "tune",
]


if not TYPE_CHECKING:
    # To a type checker a function of this name would make every name right.
    def __getattr__(name: str) -> Any:
        # The estimator alone needs scikit-learn.
        if name == "OptMsmClassifier":
            from .estimator import OptMsmClassifier

            return OptMsmClassifier
        raise AttributeError(f"module 'optmsm' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted(__all__)
