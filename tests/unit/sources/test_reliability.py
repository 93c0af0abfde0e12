"""The reliability falls with each reason to doubt and never leaves its range."""

import numpy as np

from alertprod.sources.reliability import FLAGS, STEPS, score

GOOD = {"significance": 20.0, "chi2": 1.0, "shape": 0.5, "spike": 0.3, "contrast": 2.0}
WORSE = {"significance": 4.0, "chi2": 4.0, "shape": 8.0, "spike": 1.5, "contrast": 0.001}


def judge(features, **flags):
    table = {name: np.array([flags.get(name, False)]) for name in FLAGS}
    return float(score({k: np.array([v]) for k, v in features.items()}, table)[0])


def test_a_clean_source_is_reliable():
    assert judge(GOOD) > 0.9


def test_each_reason_to_doubt_lowers_it():
    assert set(WORSE) == set(STEPS)
    for name, value in WORSE.items():
        assert judge(GOOD | {name: value}) < 0.35, name
    for name in FLAGS:
        assert judge(GOOD, **{name: True}) < 0.85 * judge(GOOD), name


def test_unknown_features_are_no_reason():
    assert judge(GOOD | {"shape": np.nan, "contrast": np.inf}) > 0.9


def test_it_stays_between_zero_and_one():
    for value in (-1e30, 0.0, 1e30):
        assert 0.0 <= judge(dict.fromkeys(GOOD, value)) <= 1.0
