"""The estimator of scikit-learn's way."""

from __future__ import annotations

import json
import logging
import os
import shutil
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import (
    _check_feature_names,
    _check_n_features,
    _check_sample_weight,
    check_array,
    check_is_fitted,
    column_or_1d,
)

from . import _frames, _internal, callbacks as _callbacks
from ._results import Evaluation
from .config import Config
from .errors import ArgumentError, DataError
from .run import Run
from .training import _train

#: Rows from which a share is held out by itself, for early stopping to watch: of fewer it says too little.
_ENOUGH = 10_000
#: Steps that training of few rows without validation rows gets at least: fewer leave the parameters near their beginning.
_FEWEST_STEPS = 1000
#: Patience of training that validation rows are not to end.
_NEVER = 1 << 31


class OptMsmClassifier(ClassifierMixin, BaseEstimator):
    """A click-through-rate model of one or many scenarios, for labels of two classes.

    Parameters
    ----------
    scenario : str, optional
        Column that names the scenario of a row, such as the page or the slot. Without one all rows are of one scenario.
    model : str, default="optmsm"
        Kind of the model: ``"dnn"``, ``"shared_bottom"``, ``"mmoe"`` … (:func:`optmsm.models` lists them).
    config : Config, dict or path, optional
        Settings of ``[model]``, ``[train]`` and ``[data]`` in place of those that the rows suggest. Fields are guessed where it
        names none.
    fields : dict, optional
        Kinds or whole settings of fields by column, in place of the guess: ``{"price": "numeric", "tags": {"kind": "multi",
        "separator": ","}}``; None leaves a column out.
    specific : sequence of str, default=()
        Columns that set the scenarios apart, in place of the guess: only ``"optmsm"`` reads them in another way.
    epochs, batch_size, learning_rate, embedding_dim : optional
        Most passes, rows of a step, rate, and width of embeddings, in place of what the number of rows suggests.
    early_stopping : "auto" or bool, default="auto"
        Whether validation rows end training: those of ``fit(eval_X=…)``, or ``validation_fraction`` of the rows, which then are not
        trained on. ``"auto"`` does with ``eval_X``, or from 10,000 rows on.
    validation_fraction : float, default=0.1
        Share of the rows that is held out.
    patience : int, default=3
        Evaluations without a better one before training ends.
    monitor : str, default="auc"
        Metric that early stopping watches: ``"auc"``, ``"log_loss"``, ``"gauc"``, ``"mean_auc"``, ``"auc.NAME"`` of a scenario ….
    unseen_scenario : "error" or "oov", default="error"
        What a scenario is that training never saw: an error, or answered by a fallback that is trained, too.
    backend : "cpu" or "cuda", default="cpu"
        Device that trains and predicts.
    n_jobs : int, optional
        Threads of the CPU; all cores when not given. Results do not depend on it.
    random_state : int, RandomState or None
        Seed; None is 1.
    warm_start : bool, default=False
        Whether ``fit`` goes on from the parameters, vocabularies and statistics of the fit before.
    run : path, optional
        Folder in which ``fit`` keeps its run, for the program or :class:`optmsm.Run`; a temporary one when not given.
    verbose : int, default=0
        1 draws a bar, 2 also logs every evaluation.

    Attributes
    ----------
    classes_ : ndarray of 2
        The labels; ``predict_proba`` has their columns in this order.
    n_features_in_ : int
        Columns of the rows.
    feature_names_in_ : ndarray
        Their names, of tables that have such.
    run_ : Run
        The run: reports, tensors, embeddings, calibration.
    evals_result_ : dict
        Metrics by evaluation: ``evals_result_["valid"]["auc"]``.
    best_iteration_ : int
        Passes after which the parameters were the best.
    n_iter_ : int
        Passes that were made.
    """

    classes_: NDArray[Any]
    n_features_in_: int
    feature_names_in_: NDArray[Any]
    run_: Run
    evals_result_: dict[str, dict[str, list[float]]]
    best_iteration_: float
    n_iter_: int
    _constant: Any

    def __init__(
        self,
        scenario: str | None = None,
        model: str = "optmsm",
        *,
        config: Config | Mapping[str, Any] | str | os.PathLike[str] | None = None,
        fields: Mapping[str, Any] | None = None,
        specific: Sequence[str] = (),
        epochs: int | None = None,
        batch_size: int | None = None,
        learning_rate: float | None = None,
        embedding_dim: int | None = None,
        early_stopping: bool | str = "auto",
        validation_fraction: float = 0.1,
        patience: int = 3,
        monitor: str = "auc",
        unseen_scenario: str = "error",
        backend: str = "cpu",
        n_jobs: int | None = None,
        random_state: Any = None,
        warm_start: bool = False,
        run: str | os.PathLike[str] | None = None,
        verbose: int = 0,
    ):
        self.scenario = scenario
        self.model = model
        self.config = config
        self.fields = fields
        self.specific = specific
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.embedding_dim = embedding_dim
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.patience = patience
        self.monitor = monitor
        self.unseen_scenario = unseen_scenario
        self.backend = backend
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.warm_start = warm_start
        self.run = run
        self.verbose = verbose

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_class = False
        tags.input_tags.allow_nan = True
        tags.input_tags.categorical = True
        tags.input_tags.string = True
        return tags

    # Fitting

    def fit(
        self,
        X: Any,
        y: Any = None,
        *,
        sample_weight: Any = None,
        eval_X: Any = None,
        eval_y: Any = None,
        eval_sample_weight: Any = None,
        callbacks: Iterable[_callbacks.Callback] = (),
        init_model: OptMsmClassifier | Run | str | os.PathLike[str] | None = None,
    ) -> OptMsmClassifier:
        """Trains on rows.

        Parameters
        ----------
        X :
            A DataFrame of any library, anything with ``__arrow_c_stream__``, a dictionary of columns, or an array of two dimensions,
            whose columns are numbers.
        y :
            Labels of two classes, or the name of their column in ``X``.
        sample_weight :
            Weights of the rows, or the name of their column.
        eval_X, eval_y, eval_sample_weight :
            Validation rows, of the same form.
        callbacks :
            Functions that hear of every evaluation, see :mod:`optmsm.callbacks`.
        init_model : OptMsmClassifier, Run or path, optional
            Model of the same fields whose parameters, vocabularies and statistics are begun with.
        """
        rows = self._rows("train", X, y, sample_weight, fitting=True)
        begun = self._begun(init_model)
        valid, stops = None, self.early_stopping
        if eval_X is not None:
            valid = self._rows("valid", eval_X, eval_y, eval_sample_weight, fitting=False, like=rows)
        elif stops is True or (stops == "auto" and rows.count >= _ENOUGH):
            stops = "split"
        if stops not in ("auto", "split", True, False):
            raise ArgumentError(f"early_stopping: {stops!r} is neither 'auto', True nor False; give one of them")
        config = self._config(rows, valid, stops == "split")
        folder, owned = self._folder(init_model)
        self.evals_result_: dict[str, dict[str, list[float]]] = {}
        seen: list[_callbacks.Evaluated] = []
        heard = [_callbacks.record_evaluation(self.evals_result_), seen.append, *callbacks]
        if self.verbose > 1:
            heard.append(_callbacks.log_evaluation())
        try:
            done, ended = _train(folder, config._inner, begun=begun, callbacks=heard, progress=bool(self.verbose))
        except Exception:
            if owned:
                # Nobody could find it; one that Ctrl-C stopped is named where it says so.
                shutil.rmtree(folder, ignore_errors=True)
            raise
        run = Run(done, backend=self.backend, threads=self._threads(), _ended=ended)
        self.run_ = run._owns() if owned else run
        self.classes_ = rows.classes
        self._constant = rows.constant
        self.n_iter_ = seen[-1].epoch
        self.best_iteration_ = next(at.epoch for at in reversed(seen) if at.best)
        return self

    def _threads(self) -> int | None:
        if self.n_jobs is None or self.n_jobs == -1:
            return None
        cores = os.cpu_count() or 1
        return max(1, cores + 1 + self.n_jobs) if self.n_jobs < 0 else self.n_jobs

    def _begun(self, init_model: Any) -> Path | None:
        if init_model is None and self.warm_start and hasattr(self, "run_"):
            init_model = self.run_
        if init_model is None:
            return None
        init_model = getattr(init_model, "run_", init_model)
        return Path(init_model.folder if isinstance(init_model, Run) else init_model)

    def _folder(self, init_model: Any) -> tuple[Path, bool]:
        """Folder of the run, and whether it is this estimator's to delete."""
        if self.run is not None:
            return Path(self.run), False
        return Path(tempfile.mkdtemp(prefix="optmsm-")), True

    def _rows(
        self, name: str, X: Any, y: Any, sample_weight: Any, *, fitting: bool, like: _Rows | None = None
    ) -> _Rows:
        """Rows with label, scenario and weight, as the engine takes them."""
        y_column = y if isinstance(y, str) else None
        if y is None:
            raise ValueError("this OptMsmClassifier requires y to be passed, but the target y is None: give labels, or the name of their column in X")
        X, _ = self._checked(X, y_column, fitting)
        leave_out = {y_column} if y_column else set()
        weight_column = sample_weight if isinstance(sample_weight, str) else None
        if weight_column:
            leave_out.add(weight_column)
        raw = _frames.frame(name, X)
        y = raw.values(y_column) if y_column else y
        if y_column is None:
            y = column_or_1d(y, warn=True)
        labels = np.asarray(y)
        if labels.shape[0] != raw.rows:
            raise ValueError(f"Found input variables with inconsistent numbers of samples: {[raw.rows, labels.shape[0]]}")
        if labels.dtype.kind == "f" and not np.isfinite(labels).all():
            raise ValueError("Input y contains NaN or infinity.")
        if labels.dtype.kind == "O" and any(value is None for value in labels.tolist()):
            raise DataError("y: a label is missing; drop its row")
        if like is None:
            check_classification_targets(labels)
            classes = np.unique(labels)
            if len(classes) > 2:
                raise ValueError(f"Only binary classification is supported. The type of the target is multiclass: y has {len(classes)} classes")
            if len(classes) < 2:
                raise ValueError(f"Classifier can't train when only one class is present: y has {classes.tolist()} alone")
        else:
            classes = like.classes
            other = set(np.unique(labels).tolist()) - set(classes.tolist())
            if other:
                raise ValueError(f"eval_y has labels that y has not: {sorted(map(str, other))}")
        added: dict[str, Any] = {}
        taken = set(raw.columns) - leave_out
        label = _free(y_column or "label", taken)
        added[label] = (labels == classes[1]).astype(np.int8)
        weight = None
        if sample_weight is not None:
            values = raw.values(weight_column) if weight_column else sample_weight
            weight = _free(weight_column or "weight", taken | {label})
            added[weight] = _check_sample_weight(values, np.empty((raw.rows, 0)), dtype=np.float64)
            if (added[weight] < 0).any():
                raise ValueError("Negative values in sample_weight: give weights of at least 0")
            if like is None and len(np.unique(labels[added[weight] > 0])) < 2:
                raise ValueError("Classifier can't train when only one class has a sample_weight above 0")
        scenario, constant = self.scenario, None
        if scenario is None:
            scenario = constant = _free("scenario", taken | set(added))
            added[scenario] = "all"
        elif scenario not in raw.columns:
            raise DataError(f"scenario: no column '{scenario}'; the rows have {', '.join(raw.columns)}")
        frame = _frames.frame(name, X, added, tuple(leave_out))
        return _Rows(frame, label, weight, scenario, constant, classes, _frames.is_numpy(X) and X.dtype.kind in "biuf")

    def _checked(self, X: Any, y_column: str | None, fitting: bool) -> tuple[Any, Any]:
        """What scikit-learn asks of rows; returns them, and their names where they have such."""
        if _frames.is_path(X):
            raise TypeError("X is a path: train from files with optmsm.train(config, data=path)")
        if _frames.is_stream(X):
            X = X.read_all() if hasattr(X, "read_all") else X
        if isinstance(X, (list, tuple)):
            X = np.asarray(X)
        if hasattr(X, "tocsr") or hasattr(X, "tocoo"):
            raise TypeError(
                "Sparse data was passed, but dense data is required: use .toarray(), or a table with lists of ids in one column"
            )
        if isinstance(X, np.ndarray) or not (hasattr(X, "__arrow_c_stream__") or hasattr(X, "columns") or isinstance(X, dict)):
            X = _checked_array(X, self)
            _check_n_features(self, X, reset=fitting)
            if fitting:
                self._strict = True
            if fitting and hasattr(self, "feature_names_in_"):
                del self.feature_names_in_
            elif not fitting:
                _check_feature_names(self, X, reset=False)
            return X, None
        names = [str(name) for name in _names(X) if name != y_column]
        if fitting:
            self.n_features_in_ = len(names)
            self.feature_names_in_ = np.asarray(names, dtype=object)
            # Who names the label in the table may score tables that have it, and other columns, too.
            self._strict = y_column is None
            if type(X).__module__.split(".")[0] == "pandas":
                # For its own messages about names that are no texts.
                table: Any = X
                _check_feature_names(self, table.drop(columns=[y_column]) if y_column else table, reset=True)
        elif self._strict and type(X).__module__.split(".")[0] == "pandas" and y_column is None:
            _check_feature_names(self, X, reset=False)
            _check_n_features(self, X, reset=False)
        if hasattr(X, "__len__") and len(X) == 0:
            raise ValueError(f"Found array with 0 sample(s) (shape=(0, {len(names)})) while a minimum of 1 is required.")
        return X, names

    def _config(self, rows: _Rows, valid: _Rows | None, split: bool) -> Config:
        """The settings of a fit."""
        base = self.config
        given = {} if base is None else (base if isinstance(base, Config) else Config(base)).to_dict() if not isinstance(base, Mapping) else dict(base)
        watched = valid is not None or split
        scenarios = 1
        if rows.constant is None:
            scenarios = len(set(np.asarray(rows.frame.values(rows.scenario), dtype=object).tolist()))
        settings = json.loads(_internal.settings(rows.count, watched, scenarios))
        table: dict[str, Any] = {
            "model": {**settings["model"], **given.get("model", {})},
            "train": {**settings["train"], **given.get("train", {})},
        }
        data = {**given.get("data", {})}
        data.pop("split", None)
        data.update(train=rows.frame.path, label=rows.label, scenario=rows.scenario)
        for key in ("valid", "test", "label_values", "weight", "probability"):
            data.pop(key, None)
        if valid is not None:
            data["valid"] = valid.frame.path
        elif split:
            data["split"] = {"valid": float(self.validation_fraction), "test": 0.0, "seed": self._seed()}
        if rows.weight is not None:
            data["weight"] = rows.weight
        data["unseen_scenario"] = self.unseen_scenario
        fields, group = self._fields(rows, data.get("fields"))
        data["fields"] = fields
        if group is not None and "group" not in data:
            data["group"] = group
        table["data"] = data
        model, train = table["model"], table["train"]
        if self.model != "optmsm" or "kind" not in given.get("model", {}):
            model["kind"] = self.model
        if self.embedding_dim is not None:
            model["embedding_dim"] = int(self.embedding_dim)
        own = given.get("train", {})
        train["seed"] = self._seed()
        train["backend"] = self.backend
        if self._threads() is not None:
            train["threads"] = self._threads()
        if watched:
            train["patience"] = int(self.patience) if self.early_stopping is not False else _NEVER
            train["monitor"] = self.monitor
        if self.batch_size is not None:
            train["batch_size"] = int(self.batch_size)
        elif "batch_size" not in own:
            train["batch_size"] = min(train["batch_size"], max(16, rows.count // 16))
        if self.epochs is not None:
            train["epochs"] = int(self.epochs)
        elif "epochs" not in own and not watched:
            steps = max(1, -(-rows.count // train["batch_size"]))
            train["epochs"] = max(train["epochs"], min(60, -(-_FEWEST_STEPS // steps)))
        if self.learning_rate is not None:
            train["optimizer"] = {**train["optimizer"], "lr": float(self.learning_rate)}
            train.get("embedding_optimizer", {}).pop("lr", None)
        # Encoded rows that do not fit memory go beside the run, not into the current folder.
        data.setdefault("stream", {"folder": str(Path(tempfile.gettempdir()) / "optmsm-cache")})
        return Config(table)

    def _seed(self) -> int:
        if self.random_state is None:
            return 1
        if isinstance(self.random_state, Integral):
            return int(self.random_state)
        return int(check_random_state(self.random_state).randint(np.iinfo(np.int32).max))

    def _fields(self, rows: _Rows, given: list[dict[str, Any]] | None) -> tuple[list[dict[str, Any]], str | None]:
        """Fields, and the column of groups if one was found."""
        group = None
        columns = [name for name in rows.frame.columns if name not in (rows.label, rows.weight, rows.scenario)]
        if given:
            fields = {field.get("column", field["name"]): dict(field) for field in given}
        elif rows.plain:
            fields = {name: {"name": name, "kind": "numeric"} for name in columns}
        elif set(columns) <= set(self.fields or {}):
            fields = {}
        else:
            leave_out: list[str] = [rows.weight] if rows.weight else []
            text = _internal.starter(rows.frame.path, rows.label, rows.scenario, leave_out)
            guess = Config.parse(text).to_dict()["data"]
            group = guess.get("group")
            fields = {field.get("column", field["name"]): field for field in guess["fields"]}
            probability = guess.get("probability")
            if probability is not None:
                fields[probability] = {"name": probability, "kind": "numeric"}
            _say_left_out(text, leave_out)
        for name, kind in (self.fields or {}).items():
            if name not in rows.frame.columns:
                raise ArgumentError(f"fields: no column '{name}'; the rows have {', '.join(rows.frame.columns)}")
            if kind is None:
                fields.pop(name, None)
            elif isinstance(kind, str):
                fields[name] = {"name": name, "kind": kind}
            else:
                fields[name] = {"name": name, **kind}
        for name in self.specific:
            if name not in fields:
                raise ArgumentError(f"specific: no field '{name}'; there are {', '.join(fields)}")
            fields[name] = {**fields[name], "role": "specific"}
        return list(fields.values()), group

    # Answers

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """Probabilities of the two classes, one row each."""
        check_is_fitted(self)
        found = self.run_.predict(self._scored(X)) if self._constant is None else self._of_frame(X)
        found = found.astype(np.float64)
        return np.stack([1.0 - found, found], axis=1)

    def _scored(self, X: Any) -> Any:
        return X if _frames.is_path(X) or _frames.is_stream(X) else self._checked(X, None, fitting=False)[0]

    def _of_frame(self, X: Any) -> np.ndarray:
        X, _ = self._checked(X, None, fitting=False)
        return self.run_._predict(_frames.frame("rows", X, {self._constant: "all"}))

    def predict(self, X: Any) -> NDArray[Any]:
        """The likelier class of each row."""
        check_is_fitted(self)
        found: NDArray[Any] = self.classes_[(self.predict_proba(X)[:, 1] > 0.5).astype(int)]
        return found

    def decision_function(self, X: Any) -> NDArray[np.float64]:
        """Logits of the probabilities of the second class."""
        p = np.clip(self.predict_proba(X)[:, 1], 1e-12, 1 - 1e-7)
        return np.log(p) - np.log1p(-p)

    def evaluate(self, X: Any, y: Any = None, *, sample_weight: Any = None) -> Evaluation:
        """Metrics of labelled rows, over all and by scenario; ``y`` and ``sample_weight`` are as in :meth:`fit`."""
        check_is_fitted(self)
        like = _Rows(None, None, None, None, self._constant, self.classes_, False)
        rows = self._rows("rows", X, y, sample_weight, fitting=False, like=like)
        if sample_weight is None and self.run_.config.to_dict()["data"].get("weight"):
            # The run weighs rows: without weights each counts once.
            rows = self._rows("rows", X, y, np.ones(rows.count), fitting=False, like=like)
        return self.run_._evaluate(rows.frame, rows.label, rows.weight)

    # Keeping

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Copies the run to a folder, for :meth:`load`, :class:`optmsm.Run` and the program."""
        check_is_fitted(self)
        saved = self.run_.save(folder)
        about = {
            "classes": [value.item() if hasattr(value, "item") else value for value in self.classes_],
            "constant": self._constant,
            "strict": self._strict,
            "n_features_in": self.n_features_in_,
            "feature_names_in": list(getattr(self, "feature_names_in_", [])) or None,
            "params": {key: value for key, value in self.get_params().items() if _is_plain(value)},
        }
        (saved.folder / "estimator.json").write_text(json.dumps(about), encoding="utf-8")
        return saved.folder

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> OptMsmClassifier:
        """A fitted estimator of a folder that :meth:`save` wrote, or of the run of a program, whose classes are 0 and 1."""
        run = Run(folder)
        path = run.folder / "estimator.json"
        about = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        made = cls(**about.get("params", {"scenario": run.config["data.scenario"], "model": run.config.kind}))
        made.run_ = run
        made.classes_ = np.asarray(about.get("classes", [0, 1]))
        made._constant, made._strict = about.get("constant"), about.get("strict", False)
        names = about.get("feature_names_in") or run._open().needed()
        made.n_features_in_ = about.get("n_features_in", len(names))
        if about.get("feature_names_in") or not about:
            made.feature_names_in_ = np.asarray(names, dtype=object)
        made.evals_result_ = {}
        return made


class _Rows:
    """Rows of a fit, and what their columns are."""

    def __init__(
        self,
        frame: Any,  # an _internal.Frame; None where only the rest is asked for
        label: Any,
        weight: str | None,
        scenario: str | None,
        constant: str | None,
        classes: NDArray[Any],
        plain: bool,
    ):
        self.frame = frame
        self.label, self.weight, self.scenario = label, weight, scenario
        self.constant = constant  # column of the one scenario, where there is no other
        self.classes = classes
        self.plain = plain  # an array without names

    @property
    def count(self) -> int:
        count: int = self.frame.rows
        return count


def _checked_array(X: Any, estimator: Any) -> Any:
    check: Any = check_array
    try:
        return check(X, dtype="numeric", ensure_all_finite="allow-nan", estimator=estimator, input_name="X")
    except ValueError as problem:
        array = np.asarray(X)
        if array.dtype.kind not in "OUS" or "could not convert" not in str(problem):
            raise
        # Texts: columns of categories.
        return check(X, dtype=None, ensure_all_finite=False, estimator=estimator, input_name="X")


def _names(X: Any) -> list[Any]:
    if isinstance(X, dict):
        return list(X)
    if hasattr(X, "column_names"):
        return list(X.column_names)  # pyarrow
    if hasattr(X, "columns"):
        return list(X.columns)
    return _frames.frame("names", X).columns


def _free(name: str, taken: set[str]) -> str:
    while name in taken:
        name += "_"
    return name


def _is_plain(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, (str, int, float, bool)) or (isinstance(value, dict) and all(map(_is_plain, value.values())))


def _say_left_out(text: str, known: list[str]) -> None:
    """Warns of columns that the guess leaves out, with its reason; not of those that it was told to."""
    for line in text.splitlines():
        if line.startswith('# "') and '": left out: ' in line and not any(line.startswith(f'# "{name}":') for name in known):
            logging.getLogger("optmsm").warning("column %s; name it in fields= to keep it", line[2:].rstrip("."))
