"""Zero-shot classification, for encoders that were trained beside a text tower."""

from __future__ import annotations

import numpy as np

from manifests.errors import CorruptError, UserError
from trainer.evaluation.protocol import Part
from trainer.evaluation.suite.bench import Bench, InapplicableError, Measurement, Protocol
from trainer.evaluation.zero_shot import class_rows, load_towers, predict_zero_shot, sentences


def _measure(bench: Bench) -> list[Measurement]:
    pool, subject = bench.task.pool, bench.subject
    if subject.folder is None or subject.encoder is None:
        raise InapplicableError(f"{subject.name} has no text tower")
    if not pool.label_names or not bench.parts:
        raise InapplicableError(f"{bench.task.name} does not name its labels")
    try:
        model, tokenizer, context = load_towers(subject.folder, subject.encoder)
    except CorruptError:
        raise
    except UserError as error:
        raise InapplicableError(str(error)) from None
    classes = class_rows(model, tokenizer, context, sentences(pool.label_names))
    predicted = predict_zero_shot(model, bench.features, classes).numpy()
    rows = bench.task.scored
    asked, none = rows[pool.labels[rows] >= 0], np.array([], np.int64)
    return [bench.scored("zero_shot", predicted, [Part(none, none, asked)])]


ZERO_SHOT = Protocol("zero-shot", 1, _measure)
