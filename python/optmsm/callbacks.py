"""Callbacks of training: functions that hear of every evaluation, as LightGBM has them.

A callback gets an :class:`Evaluated` and returns ``True`` to end training there. What it raises ends training, too, after the run
was saved, and reaches the caller.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

Callback = Callable[["Evaluated"], Any]


@dataclass(frozen=True)
class Evaluated:
    """An evaluation on the way."""

    #: Steps of the optimizer that are done.
    step: int
    #: Passes over the training rows that are done.
    epoch: int
    #: Mean training loss since the evaluation before.
    loss: float
    #: Whether it is the best so far, by ``train.monitor``.
    best: bool
    #: Evaluations since the best one.
    stale: int
    #: Evaluation of the validation rows as ``metrics.jsonl`` has it: ``overall``, ``scenarios``; None without such rows.
    valid: dict[str, Any] | None = field(repr=False)

    @property
    def metrics(self) -> dict[str, float]:
        """Metrics of all validation rows; empty without such rows."""
        overall = (self.valid or {}).get("overall", {})
        return {key: value for key, value in overall.items() if isinstance(value, float)}


def log_evaluation(period: int = 1, logger: logging.Logger | None = None) -> Callback:
    """Logs the metrics of every evaluation whose number is a multiple of ``period``."""
    logger = logger or logging.getLogger("optmsm")
    count = 0

    def callback(at: Evaluated) -> None:
        nonlocal count
        count += 1
        if period > 0 and count % period == 0:
            shown = "  ".join(f"{key} {value:.4f}" for key, value in at.metrics.items())
            logger.info("epoch %d  step %d  loss %.4f  %s", at.epoch, at.step, at.loss, shown)

    return callback


def record_evaluation(into: dict[str, dict[str, list[float]]]) -> Callback:
    """Appends every metric to ``into["valid"][metric]``, and the training loss to ``into["train"]["loss"]``."""
    into.clear()

    def callback(at: Evaluated) -> None:
        into.setdefault("train", {}).setdefault("loss", []).append(at.loss)
        for key, value in at.metrics.items():
            into.setdefault("valid", {}).setdefault(key, []).append(value)

    return callback


def early_stopping(stopping_rounds: int, metric: str = "auc", min_delta: float = 0.0) -> Callback:
    """Ends training after ``stopping_rounds`` evaluations without a better ``metric`` of the validation rows.

    Training does this by itself with ``train.patience`` and ``train.monitor``; this one is for another metric or a least difference.
    The parameters that are kept are the best by ``train.monitor`` in any case.
    """
    lower = metric in ("log_loss", "rmse", "ece")
    best: float | None = None
    since = 0

    def callback(at: Evaluated) -> bool:
        nonlocal best, since
        if metric not in at.metrics:
            known = ", ".join(at.metrics) or "none: there are no validation rows"
            raise ValueError(f"early_stopping: no metric '{metric}'; known: {known}")
        value = -at.metrics[metric] if lower else at.metrics[metric]
        if best is None or value > best + min_delta:
            best, since = value, 0
            return False
        since += 1
        return since >= stopping_rounds

    return callback
