"""The text format, read back by the parser of Prometheus's own client."""

from __future__ import annotations

import math

from prometheus_client.parser import text_string_to_metric_families

from kvtape.server.prometheus import counter, gauge, histogram, render
from kvtape.session.timings import BOUNDS, Histogram


def parse(*families):
    return {family.name: family for family in text_string_to_metric_families(render(families))}


def test_numbers_and_labels_come_back():
    odd = 'a "b"\\c\nd'
    found = parse(
        gauge("level", "How\nhigh \\ it is.", 0.25),
        counter("drops_total", "Drops.", {("policy", "oldest"): 3, ("policy", odd): 0}),
    )
    assert (found["level"].type, found["level"].documentation) == ("gauge", "How\nhigh \\ it is.")
    assert [(sample.labels, sample.value) for sample in found["level"].samples] == [({}, 0.25)]
    drops = found["drops"]
    assert drops.type == "counter"
    assert [(sample.name, sample.labels["policy"], sample.value) for sample in drops.samples] == [
        ("drops_total", "oldest", 3),
        ("drops_total", odd, 0),
    ]


def test_a_histogram_has_buckets_sum_and_count():
    fast, slow = Histogram(), Histogram()
    fast.observe(0.001)
    slow.observe(100.0)
    samples = parse(histogram("took_seconds", "Time.", {("source", "a"): fast, ("source", "b"): slow}))[
        "took_seconds"
    ].samples
    buckets = [sample for sample in samples if sample.name == "took_seconds_bucket" and sample.labels["source"] == "a"]
    assert [float(sample.labels["le"]) for sample in buckets] == [*BOUNDS, math.inf]
    assert [sample.value for sample in buckets] == [0.0, *[1.0] * len(BOUNDS)]
    sums = {sample.labels["source"]: sample.value for sample in samples if sample.name == "took_seconds_sum"}
    assert sums == {"a": 0.001, "b": 100.0}
    (unlabelled,) = [
        s for s in parse(histogram("t_seconds", "T.", {None: slow}))["t_seconds"].samples if s.name == "t_seconds_count"
    ]
    assert (unlabelled.labels, unlabelled.value) == ({}, 1)
