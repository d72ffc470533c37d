"""From scores to chances, and which chances are too low.

A kind has two scores: one from telling it apart from its siblings, one from the leaves below it (or, of a
leaf, from telling it apart from all leaves). Its chance is a softmax over the siblings of

    a · score + b · leaf score,    a, b > 0,

temperature scaling (Guo et al. 2017) with two temperatures, which also says how much either score is worth.
a and b are fitted by likelihood to scores of labelled traces from folds that did not see them, with a weak
prior, so that a few labels move them little.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize
from scipy.special import log_softmax

if TYPE_CHECKING:
    from tracetaxa.label.kinds import Indices

Scores = npt.NDArray[Any]

_PRIOR = (7.0, 7.0)
"""Of a and b, before any label: about right for requests and agent runs alike."""
_PRIOR_WEIGHT = 2.0
"""Of the squared distance from it on a logarithmic scale, in units of log-likelihood."""
_LEAST_WRONG = 1e-3


@dataclass(frozen=True, slots=True)
class Temperatures:
    """a and b."""

    own: float
    leaf: float

    def chances(self, own: Scores, leaf: Scores) -> Scores:
        """Of the siblings, (n, k), from scores of (n, k); what has -inf can't be."""
        chances: Scores = np.exp(self._logs(own, leaf))
        return chances

    def _logs(self, own: Scores, leaf: Scores) -> Scores:
        logs: Scores = log_softmax(self.own * own + self.leaf * leaf, axis=1)
        return logs

    @classmethod
    def fit(cls, own: Scores, leaf: Scores, truth: Indices, weights: Scores) -> Temperatures:
        """`truth` is the place of the right sibling, or -1: whatever is predicted then is wrong."""
        if not len(truth):
            return cls(*_PRIOR)
        known = np.flatnonzero(truth >= 0)
        unknown = np.flatnonzero(truth < 0)

        def loss(logs: npt.NDArray[np.float64]) -> float:
            told = cls(*np.exp(logs))._logs(own, leaf)
            right = (told[known, truth[known]] * weights[known]).sum()
            wrong = np.log(np.maximum(1 - np.exp(told[unknown].max(axis=1, initial=-np.inf)), _LEAST_WRONG))
            apart = np.square(logs - np.log(_PRIOR)).sum()
            return float(_PRIOR_WEIGHT * apart - right - (wrong * weights[unknown]).sum())

        found = minimize(loss, np.log(_PRIOR), method="Nelder-Mead", options={"xatol": 1e-3, "fatol": 1e-4})
        return cls(*(float(value) for value in np.exp(found.x)))


@dataclass(frozen=True, slots=True)
class Calibration:
    """What turns scores into verdicts."""

    category: Temperatures
    subcategory: Temperatures
    least_likeness: float
    """Traces less like every labelled one than this are unlike all that was learned."""
