"""Classifiers of frozen features that are fixed or picked within the part: nearest neighbours, and the linear probe."""

from __future__ import annotations

from trainer.evaluation.protocol import predict_knn, predict_linear
from trainer.evaluation.suite.bench import Bench, Measurement, Protocol


def _knn(bench: Bench) -> list[Measurement]:
    predicted = predict_knn(bench.features, bench.task.pool.labels, bench.parts)
    return [bench.scored("knn", predicted, bench.parts)]


def _linear(bench: Bench) -> list[Measurement]:
    predicted, _ = predict_linear(bench.features, bench.task.pool.labels, bench.parts)
    return [bench.scored("linear", predicted, bench.parts)]


KNN = Protocol("knn", 1, _knn)
LINEAR = Protocol("linear", 1, _linear)
