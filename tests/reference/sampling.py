"""The sampler's definition in plain Python: one row of logits, float64 probabilities."""

import numpy as np


def adjusted(logits, params, recent=(), mask=None):
    """Bias, penalties and mask, in float32 one token at a time; NaN to -inf."""
    row = [np.float32(x) for x in logits]
    f32 = np.float32
    for token, bias in params.logit_bias.items():
        row[token] += f32(bias)
    window = list(recent)[-params.repeat_last_n :] if params.repeat_last_n else list(recent)
    for token in set(window):
        x, n = row[token], f32(window.count(token))
        x = x / f32(params.repeat_penalty) if x > 0 else x * f32(params.repeat_penalty)
        row[token] = (x - n * f32(params.frequency_penalty)) - f32(params.presence_penalty)
    if mask is not None:
        row = [x if allowed else f32(-np.inf) for x, allowed in zip(row, mask, strict=True)]
    row = np.array(row, np.float32)
    return np.where(np.isnan(row), np.float32(-np.inf), row)


def in_order(row):
    """Token ids by larger logit, then lower id; without those at -inf."""
    order = np.lexsort((np.arange(len(row)), -row.astype(np.float64)))
    return order[row[order] > -np.inf]


def weights(row, temperature):
    """exp((l - max l) / temperature); 1 and 0 where there is a +inf."""
    row = row.astype(np.float64)
    if row.max() == np.inf:
        return (row == np.inf).astype(np.float64)
    with np.errstate(over="ignore"):
        return np.exp((row - row.max()) / np.float64(np.float32(temperature)))


def distribution(row, params):
    """Probabilities that the draw works with, [vocab_size]."""
    w = weights(row, params.temperature)
    kept = in_order(row)
    kept = kept[w[kept] > 0] if row.max() == np.inf else kept
    if params.top_k:
        kept = kept[: params.top_k]
    if params.top_p < 1:
        sums = np.cumsum(w[kept])
        kept = kept[: 1 + np.searchsorted(sums, np.float64(np.float32(params.top_p)) * sums[-1])]
    kept = kept[w[kept] >= np.float32(params.min_p)]
    probs = np.zeros(len(row))
    probs[kept] = w[kept] / w[kept].sum()
    return probs


def log_softmax(logits):
    row = np.where(np.isnan(logits), -np.inf, logits.astype(np.float64))
    if row.max() == np.inf:
        return np.where(row == np.inf, -np.log((row == np.inf).sum()), -np.inf)
    return row - row.max() - np.log(np.exp(row - row.max()).sum())
