import math

import numpy as np
import pytest

from kvtape.errors import InvalidRequest
from kvtape.ops.sampling import log_softmax, sample, uniform
from kvtape.types import SamplingParams, TopLogprob
from tests.reference import sampling as reference

INF, NAN = math.inf, math.nan

KNOBS = [
    {},
    {"temperature": 0.3},
    {"temperature": 2.0},
    {"top_k": 1},
    {"top_k": 5},
    {"top_k": 1000},
    {"top_p": 0.0},
    {"top_p": 0.35},
    {"top_p": 0.9},
    {"min_p": 0.05},
    {"min_p": 1.0},
    {"top_k": 12, "top_p": 0.6},
    {"top_k": 12, "min_p": 0.2},
    {"top_p": 0.8, "min_p": 0.1},
    {"top_k": 9, "top_p": 0.7, "min_p": 0.1, "temperature": 0.7},
]


def params_of(knobs):
    return SamplingParams(**({"temperature": 1.0, "seed": 11} | knobs))


def logits_of(rng, n=40, spread=1.5):
    return (spread * rng.standard_normal(n)).astype(np.float32)


def draws(logits, params, n, **options):
    return [sample(logits, params, draw=i, **options).token_id for i in range(n)]


def wanted_draw(probs, u):
    """The token that u falls on, and how far from the nearest boundary."""
    ends = np.cumsum(probs)
    return int(np.searchsorted(ends, u * ends[-1], side="right")), np.abs(ends - u * ends[-1]).min()


class TestDraw:
    @pytest.mark.parametrize("knobs", KNOBS, ids=str)
    def test_each_draw_is_the_token_its_number_falls_on(self, isa, knobs):
        params = params_of(knobs)
        for row in range(5):
            logits = logits_of(np.random.default_rng(row))
            probs = reference.distribution(logits, params)
            for i, token in enumerate(draws(logits, params, 40, isa=isa)):
                wanted, margin = wanted_draw(probs, uniform(11, 0, i))
                assert token == wanted or margin < 1e-6

    @pytest.mark.parametrize("knobs", KNOBS, ids=str)
    def test_chi_square(self, knobs):
        params = params_of(knobs)
        logits = logits_of(np.random.default_rng(3), n=20)
        probs = reference.distribution(logits, params)
        n = 4000
        counts = np.bincount(draws(logits, params, n), minlength=20)
        kept = probs > 0
        assert counts[~kept].sum() == 0
        chi_square = ((counts[kept] - n * probs[kept]) ** 2 / (n * probs[kept])).sum()
        freedom = kept.sum() - 1
        assert (
            chi_square <= freedom + 4 * math.sqrt(2 * freedom) + 4
        )  # about one in ten thousand, and the seed is fixed

    @pytest.mark.parametrize("knobs", [*KNOBS, {"top_k": 900}, {"top_k": 5000, "top_p": 0.5}], ids=str)
    @pytest.mark.parametrize("spread", [0.01, 1.0, 6.0])  # flat: nearly the whole vocabulary is in the nucleus
    def test_a_real_vocabulary(self, isa, knobs, spread):
        params = params_of(knobs)
        logits = logits_of(np.random.default_rng(5), n=49152, spread=spread)
        probs = reference.distribution(logits, params)
        for i, token in enumerate(draws(logits, params, 4, isa=isa)):
            wanted, margin = wanted_draw(probs, uniform(11, 0, i))
            assert token == wanted or (
                margin < 1e-6 and abs(probs[: token + 1].sum() - probs[: wanted + 1].sum()) < 1e-4
            )

    def test_isas_agree(self):
        for seed in range(60):
            rng = np.random.default_rng(seed)
            logits = logits_of(rng, n=int(rng.integers(1, 3000)), spread=3.0)
            knobs = dict(KNOBS[seed % len(KNOBS)], logprobs=True, top_logprobs=5, seed=seed)
            answers = {sample(logits, params_of(knobs), draw=seed, logit_gap=True, isa=isa) for isa in ("ref", None)}
            assert len(answers) == 1

    def test_seed_choice_and_draw_all_matter(self, isa):
        logits = np.zeros(1000, np.float32)
        base = draws(logits, params_of({}), 50, isa=isa)
        assert base == draws(logits, params_of({}), 50, isa=isa)
        assert base != draws(logits, params_of({"seed": 12}), 50, isa=isa)
        assert base != draws(logits, params_of({"choice": 1}), 50, isa=isa)
        assert len(set(base)) > 40

    def test_uniform(self):
        numbers = np.array([uniform(1, 2, i) for i in range(20000)])
        assert numbers.min() >= 0
        assert numbers.max() < 1
        counts = np.histogram(numbers, 100, (0, 1))[0]
        assert ((counts - 200) ** 2 / 200).sum() < 99 + 4 * math.sqrt(198)
        assert all((x * 2.0**53).is_integer() for x in numbers.tolist())
        assert uniform(2**64 - 1, 2**63, 2**64 - 1) != uniform(2**64 - 1, 2**63, 2**32 - 1)


class TestGreedy:
    @pytest.mark.parametrize(
        ("logits", "token"),
        [
            ([1.0, 3.0, 2.0], 1),
            ([3.0, 3.0, 3.0], 0),
            ([1.0, NAN, 2.0, 2.0], 2),
            ([NAN, -5.0], 1),
            ([-INF, -INF, -3.0], 2),
            ([1.0, INF, 2.0, INF], 1),
            ([-0.0, 0.0], 0),
            ([0.0] * 200, 0),
            ([-1.0] * 130 + [2.0] * 3, 130),
            ([7.0], 0),
        ],
    )
    def test_largest_then_lowest_id(self, isa, logits, token):
        assert sample(np.array(logits, np.float32), SamplingParams(), isa=isa).token_id == token

    @pytest.mark.parametrize("n", [1, 63, 64, 65, 49152, 50257])
    def test_matches_numpy(self, isa, n, rng):
        logits = rng.standard_normal(n, dtype=np.float32).round(1)  # ties
        assert sample(logits, SamplingParams(), isa=isa).token_id == int(logits.argmax())

    @pytest.mark.parametrize("temperature", [0.0, 1e-40])
    def test_a_temperature_whose_inverse_overflows(self, isa, temperature):
        logits = np.array([1.0, 2.0, 2.0], np.float32)
        assert set(draws(logits, SamplingParams(temperature=temperature, seed=1), 20, isa=isa)) == {1}

    def test_a_tiny_temperature_still_draws_among_equals(self, isa):
        logits = np.array([1.0, 2.0, 2.0], np.float32)
        assert set(draws(logits, SamplingParams(temperature=1e-30, seed=1), 40, isa=isa)) == {1, 2}


class TestTies:
    def test_top_k_cuts_equals_by_id(self, isa):
        logits = np.array([1.0, 2.0, 1.0, 1.0, 0.0], np.float32)
        assert set(draws(logits, params_of({"top_k": 3, "temperature": 2.0}), 200, isa=isa)) == {0, 1, 2}

    def test_top_p_cuts_equals_by_id(self, isa):
        assert set(draws(np.zeros(8, np.float32), params_of({"top_p": 0.375}), 200, isa=isa)) == {0, 1, 2}

    def test_top_p_reached_exactly_takes_no_more(self, isa):
        assert set(draws(np.zeros(4, np.float32), params_of({"top_p": 0.5}), 100, isa=isa)) == {0, 1}

    def test_min_p_keeps_the_limit(self, isa):
        logits = np.array([0.0, 0.0, -INF, -20.0], np.float32)
        assert set(draws(logits, params_of({"min_p": 1.0}), 100, isa=isa)) == {0, 1}

    def test_many_equals_over_runs(self, isa):
        logits = np.zeros(5000, np.float32)
        assert set(draws(logits, params_of({"top_k": 100}), 400, isa=isa)) <= set(range(100))


class TestInfinities:
    @pytest.mark.parametrize("knobs", [{"temperature": 0.0}, *KNOBS], ids=str)
    def test_nothing_to_draw(self, isa, knobs):
        for row in ([-INF, -INF], [NAN], [NAN, -INF, NAN]):
            assert sample(np.array(row, np.float32), params_of(knobs), isa=isa) is None

    @pytest.mark.parametrize("knobs", KNOBS, ids=str)
    def test_all_but_one_at_minus_infinity(self, isa, knobs):
        logits = np.full(700, -INF, np.float32)
        logits[600] = -1e30
        assert set(draws(logits, params_of(knobs), 20, isa=isa)) == {600}

    @pytest.mark.parametrize("knobs", KNOBS, ids=str)
    def test_plus_infinity_takes_all_equally(self, isa, knobs):
        logits = np.array([5.0, INF, NAN, INF, -INF, 9.0], np.float32)
        params = params_of(knobs)
        wanted = set(np.flatnonzero(reference.distribution(reference.adjusted(logits, SamplingParams()), params)))
        assert set(draws(logits, params, 60, isa=isa)) == wanted

    def test_nan_is_never_drawn(self, isa):
        logits = np.array([NAN, 0.0] * 300, np.float32)
        for knobs in KNOBS:
            assert all(token % 2 == 1 for token in draws(logits, params_of(knobs), 20, isa=isa))

    def test_peaked(self, isa):
        logits = np.array([-1e4, 3e38, -3e38, 1e4], np.float32)
        for knobs in KNOBS:
            assert set(draws(logits, params_of(knobs), 20, isa=isa)) == {1}


class TestAdjusted:
    """Bias, penalties and mask, seen through the greedy choice after each best token is banned in turn."""

    @staticmethod
    def ranking(logits, params, isa, recent=(), mask=None):
        bias, found = dict(params.logit_bias), []
        fields = {name: getattr(params, name) for name in params.__slots__}
        while True:
            result = sample(logits, SamplingParams(**fields | {"logit_bias": bias}), recent=recent, mask=mask, isa=isa)
            if result is None:
                return found
            found.append(result.token_id)
            bias = bias | {result.token_id: -INF}

    @pytest.mark.parametrize(
        "knobs",
        [
            {"repeat_penalty": 1.3},
            {"repeat_penalty": 0.5},
            {"frequency_penalty": 0.7},
            {"frequency_penalty": -0.4},
            {"presence_penalty": 1.1},
            {"repeat_penalty": 2.0, "frequency_penalty": 0.3, "presence_penalty": -0.8, "repeat_last_n": 9},
            {"repeat_penalty": 2.0, "repeat_last_n": 0},
            {"repeat_penalty": 2.0, "repeat_last_n": 1},
            {"logit_bias": {3: 2.5, 0: -1.0, 29: -INF}},
            {"logit_bias": {5: 9.0}, "repeat_penalty": 3.0, "frequency_penalty": 1.0},
        ],
        ids=str,
    )
    def test_matches_the_definition(self, isa, knobs):
        rng = np.random.default_rng(8)
        for _ in range(5):
            logits, recent = logits_of(rng, 30), rng.integers(0, 30, 90)
            mask = rng.random(30) < 0.8
            for allowed in (None, mask):
                params = SamplingParams(**knobs)
                row = reference.adjusted(logits, params, recent, allowed)
                assert self.ranking(logits, params, isa, recent, allowed) == reference.in_order(row).tolist()

    def test_penalties_change_the_probabilities(self, isa):
        params = params_of({"repeat_penalty": 1.5, "frequency_penalty": 0.4, "presence_penalty": 0.2, "top_p": 0.9})
        logits, recent = logits_of(np.random.default_rng(1), 30), [4, 4, 4, 9, 28, 4]
        probs = reference.distribution(reference.adjusted(logits, params, recent), params)
        for i, token in enumerate(draws(logits, params, 100, recent=recent, isa=isa)):
            wanted, margin = wanted_draw(probs, uniform(11, 0, i))
            assert token == wanted or margin < 1e-6

    @pytest.mark.parametrize("n", [1, 63, 64, 65, 128, 200])
    def test_mask_of_any_length(self, isa, n):
        for allowed in range(0, n, 7):
            mask = np.zeros(n, np.bool_)
            mask[allowed] = True
            assert sample(np.zeros(n, np.float32), SamplingParams(), mask=mask, isa=isa).token_id == allowed
        assert sample(np.zeros(n, np.float32), SamplingParams(), mask=np.zeros(n, np.bool_), isa=isa) is None

    def test_the_row_is_left_alone(self, isa):
        logits = np.arange(10, dtype=np.float32)
        before = logits.copy()
        sample(logits, params_of({"logit_bias": {1: 3.0}, "repeat_penalty": 2.0}), recent=[9], isa=isa)
        np.testing.assert_array_equal(logits, before)


class TestLogprobs:
    @pytest.mark.parametrize("n", [1, 2, 17, 513, 49152])
    def test_log_softmax(self, isa, n, rng):
        logits = logits_of(rng, n, 4.0)
        exact = reference.log_softmax(logits)
        # one rounding to float32 of the result, and the relative error of a sum of exponentials of 1 ulp each
        np.testing.assert_allclose(log_softmax(logits, isa=isa), exact, rtol=2.0**-23, atol=2.0**-21)
        assert log_softmax(logits, isa=isa).tobytes() == log_softmax(logits, isa="ref").tobytes()

    @pytest.mark.parametrize(
        "row", [[INF, 1.0, INF, NAN], [NAN, 2.0, -INF], [-1e30, 1e30], [0.0] * 5, [88.0, -88.0], [-3.0]], ids=str
    )
    def test_hard_rows(self, isa, row):
        logits = np.array(row, np.float32)
        with np.errstate(invalid="ignore"):
            exact = reference.log_softmax(logits)
        np.testing.assert_allclose(log_softmax(logits, isa=isa), exact, rtol=2.0**-22)

    def test_nothing_above_minus_infinity(self, isa):
        assert log_softmax(np.array([NAN, -INF], np.float32), isa=isa).tolist() == [-INF, -INF]

    def test_of_the_logits_as_they_came(self, isa, rng):
        logits = logits_of(rng, 300)
        params = params_of(
            {"logprobs": True, "top_logprobs": 4, "temperature": 0.2, "top_k": 3, "logit_bias": {7: 50.0}}
        )
        result = sample(logits, params, isa=isa)
        wanted = log_softmax(logits, isa=isa)
        assert result.token_id == 7
        assert result.logprob == wanted[7]
        best = np.argsort(-logits, kind="stable")[:4]
        assert result.top_logprobs == tuple(TopLogprob(int(i), float(wanted[i])) for i in best)

    def test_of_ids_that_are_named(self, isa, rng):
        logits = logits_of(rng, 300)
        ids = (250, 3, 250, 0)
        params = SamplingParams(logprobs=True, logprob_ids=ids, top_logprobs=1, allowed_tokens=(8,))
        result = sample(logits, params, isa=isa)
        wanted, best = log_softmax(logits, isa=isa), int(np.argmax(logits))
        assert result.top_logprobs == tuple(TopLogprob(i, float(wanted[i])) for i in (*ids, best))

    def test_ties_by_id_and_fewer_tokens_than_asked(self, isa):
        logits = np.array([1.0, 2.0, -INF, 2.0, NAN, 1.0], np.float32)
        result = sample(logits, SamplingParams(logprobs=True, top_logprobs=20), isa=isa)
        assert [entry.token_id for entry in result.top_logprobs] == [1, 3, 0, 5]

    def test_not_asked(self, isa):
        result = sample(np.zeros(3, np.float32), SamplingParams(), isa=isa)
        assert (result.logprob, result.top_logprobs, result.logit_gap) == (None, (), None)

    @pytest.mark.parametrize(
        ("row", "gap"),
        [
            ([1.0, 4.5, 2.0], 2.5),
            ([3.0, 3.0], 0.0),
            ([INF, INF, 1.0], 0.0),
            ([INF, 1.0], INF),
            ([1.0], INF),
            ([1.0, NAN], INF),
        ],
    )
    def test_logit_gap(self, isa, row, gap):
        params = SamplingParams(logit_bias={0: -1.0})  # the gap is of the raw logits
        assert sample(np.array(row, np.float32), params, logit_gap=True, isa=isa).logit_gap == gap

    def test_logit_gap_inside_one_run(self, isa):
        logits = np.zeros(200, np.float32)
        logits[[70, 71]] = [5.0, 4.0]
        assert sample(logits, SamplingParams(), logit_gap=True, isa=isa).logit_gap == 1.0


class TestAllowedTokens:
    """A row of the allowed tokens alone, and the whole row, give what the whole row gives with all others banned."""

    @staticmethod
    def three_ways(logits, fields, ids, isa, draw=0, **options):
        mask = np.zeros(logits.size, np.bool_)
        mask[ids] = True
        options |= {"draw": draw, "isa": isa}
        params = SamplingParams(**fields, allowed_tokens=tuple(map(int, ids)))
        alone = np.ascontiguousarray(logits[np.unique(ids)])
        return [
            sample(logits, SamplingParams(**fields), mask=mask, **options),
            sample(logits, params, **options),
            sample(alone, params, vocab_size=logits.size, **options),
        ]

    @pytest.mark.parametrize("knobs", [{"temperature": 0.0}, *KNOBS, {"top_k": 49151}, {"top_k": 49152}], ids=str)
    @pytest.mark.parametrize("n", [1, 2, 3, 17, 1024])
    def test_same_token(self, isa, knobs, n, rng):
        for trial in range(4):
            logits = logits_of(rng, 49152, 3.0).round(trial % 2 + 1)  # ties
            ids = rng.choice(49152 if trial < 2 else 2000, n, replace=False)
            logits[rng.choice(ids, n // 4)] = rng.choice([NAN, INF, -INF] if trial == 3 else [NAN, -INF])
            recent = rng.choice(np.append(ids, [5, 9]), 80).astype(np.int32)
            changes = {
                "repeat_penalty": 1.3,
                "frequency_penalty": 0.2,
                "presence_penalty": -0.1,
                "logit_bias": {int(ids[0]): 1.5, int(ids[-1]): -INF, 7: 2.0},
            }
            for fields in ({}, changes):
                fields = {"temperature": 1.0, "seed": 11} | knobs | fields
                for draw in range(6):
                    banned, whole, alone = self.three_ways(logits, fields, ids, isa, draw, recent=recent)
                    assert banned == whole == alone

    def test_sums_to_the_last_bit(self, isa, rng):
        """With top_p at the edge of one token or two, the last bit of the sum of all weights decides."""
        for _ in range(60):
            logits = np.full(49152, -9.0, np.float32)
            ids = rng.choice(6000, 400, replace=False)
            logits[ids] = rng.standard_normal(400, dtype=np.float32) - np.float32(6.5)
            logits[ids[:2]] = 0.0
            edge = np.float32(1.0 / np.exp(logits[ids].astype(np.float64)).sum())
            for ulps in range(-3, 4):
                top_p = float(edge + ulps * np.spacing(edge))
                for draw in range(3):
                    answers = self.three_ways(logits, {"temperature": 1.0, "seed": 1, "top_p": top_p}, ids, isa, draw)
                    assert answers[0] == answers[1] == answers[2]

    def test_a_mask_bans_more(self, isa):
        logits = np.arange(100, dtype=np.float32)
        mask = np.ones(100, np.bool_)
        mask[90] = False
        params = SamplingParams(allowed_tokens=(90, 2, 80))
        assert sample(logits, params, mask=mask, isa=isa).token_id == 80
        alone = sample(logits[[2, 80, 90]], params, mask=mask, vocab_size=100, isa=isa)
        assert alone.token_id == 80

    def test_nothing_to_draw(self, isa):
        logits = np.zeros(20, np.float32)
        logits[[3, 4]] = -INF
        assert sample(logits, SamplingParams(allowed_tokens=(3, 4)), isa=isa) is None
        assert sample(logits[3:5], SamplingParams(allowed_tokens=(3, 4)), vocab_size=20, isa=isa) is None

    def test_logprobs_are_the_models_and_the_gap_is_of_the_choice(self, isa, rng):
        logits = logits_of(rng, 500)
        ids = (400, 7, 33)
        result = sample(
            logits, SamplingParams(allowed_tokens=ids, logprobs=True, top_logprobs=2), logit_gap=True, isa=isa
        )
        logprobs = log_softmax(logits, isa=isa)
        first, second = sorted(ids, key=lambda i: -logits[i])[:2]
        assert (result.token_id, result.logprob) == (first, logprobs[first])
        assert [top.token_id for top in result.top_logprobs] == np.argsort(-logits)[:2].tolist()
        assert result.logit_gap == logits[first] - logits[second]
        alone = sample(logits[sorted(ids)], SamplingParams(allowed_tokens=ids), logit_gap=True, vocab_size=500, isa=isa)
        assert alone.logit_gap == result.logit_gap
        assert sample(logits, SamplingParams(allowed_tokens=(8,)), logit_gap=True, isa=isa).logit_gap == INF


class TestRefused:
    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"params": SamplingParams(logit_bias={3: 1.0})}, "logit_bias has token 3 of a vocabulary of 3"),
            ({"params": SamplingParams(logit_bias={-1: 1.0})}, "logit_bias has token -1"),
            ({"params": SamplingParams(presence_penalty=1.0), "recent": [0, 3]}, "recent has token 3"),
            ({"params": SamplingParams(allowed_tokens=(3,))}, "allowed_tokens has token 3 of a vocabulary of 3"),
            ({"params": SamplingParams(allowed_tokens=(1,)), "vocab_size": 9}, "3 logits, wanted those of 1 allowed"),
            ({"params": SamplingParams(allowed_tokens=(0, 1, 2), logprobs=True), "vocab_size": 9}, "of all tokens"),
            ({"params": SamplingParams(logprobs=True, logprob_ids=(3,))}, "logprob_ids has token 3"),
            ({"logits": np.zeros(0, np.float32)}, "no logits"),
            ({"mask": np.ones(65, np.bool_)}, "the mask has 2 words, wanted 1"),
            ({"isa": "sse9"}, "sse9"),
        ],
    )
    def test_refused(self, options, message):
        arguments = {"logits": np.zeros(3, np.float32), "params": SamplingParams()} | options
        with pytest.raises(InvalidRequest, match=message):
            sample(**arguments)

    def test_only_float32(self):
        with pytest.raises(TypeError):
            sample(np.zeros(3), SamplingParams())
