"""Which samples a step sees: counts, scales and laws, by enumeration."""

import itertools
from collections import Counter

import numpy as np
import pytest

import manifold_flow as mf
from manifold_flow.batches import _distinct
from manifold_flow.errors import DataError


def every_batch(batches):
    """All ordered batches, equally likely: arrangements, or all tuples."""
    samples = range(batches.n_samples)
    if batches.replacement:
        return np.array(list(itertools.product(samples, repeat=batches.size)))
    return np.array(list(itertools.permutations(samples, batches.size)))


KINDS = [
    mf.Batches(n, size, replacement)
    for n in (1, 2, 3, 4)
    for size in range(1, n + 1)
    for replacement in (False, True)
]


@pytest.mark.parametrize("batches", KINDS, ids=repr)
def test_scale_and_overlap_are_moments_of_the_counts(batches):
    """E[H_B S H_B] = (1−p) HSH + p n Σ H_s S H_s, entry by entry of the counts."""
    n = batches.n_samples
    counts = np.stack([np.bincount(b, minlength=n) for b in every_batch(batches)])
    weights = batches.scale * counts
    assert np.allclose(weights.mean(axis=0), 1.0, rtol=1e-14)
    second = weights.T @ weights / len(weights)
    p = batches.overlap
    assert np.allclose(second, (1 - p) + p * n * np.eye(n), rtol=1e-13)
    if n > 1:  # control: for one sample every p is right
        wrong = p + 0.1
        assert not np.allclose(second, (1 - wrong) + wrong * n * np.eye(n), rtol=1e-3)


@pytest.mark.parametrize(("n", "size"), [(4, 2), (5, 3), (4, 3), (3, 3)])
def test_every_subset_is_equally_likely(n, size):
    """Floyd's subsets, over all outcomes of the chances."""
    ranges = [range(last + 1) for last in range(n - size, n)]
    outcomes = np.array(list(itertools.product(*ranges)))
    chances = (outcomes + 0.5) / np.array([len(r) for r in ranges])
    drawn = _distinct(n, chances)
    subsets = Counter(tuple(sorted(set(row))) for row in drawn.tolist())
    assert len(subsets) == len(list(itertools.combinations(range(n), size)))
    assert len(set(subsets.values())) == 1
    assert all(len(subset) == size for subset in subsets)


@pytest.mark.parametrize("batches", KINDS, ids=repr)
def test_draws_have_their_shape_and_range(batches):
    drawn = batches.draw(5, 40, np.random.default_rng(0))
    assert drawn.shape == (40, 5, batches.size)
    assert np.bincount(drawn.ravel(), minlength=batches.n_samples).min() > 0
    assert drawn.max() < batches.n_samples
    if not batches.replacement:
        rows = drawn.reshape(-1, batches.size)
        assert all(len(set(row)) == batches.size for row in rows.tolist())
    rows = drawn[:, 0].tolist()
    assert batches.are_full == all(sorted(r) == list(range(len(r))) for r in rows) or (
        batches.n_samples == 1
    )


@pytest.mark.parametrize("batches", KINDS, ids=repr)
def test_drawing_in_parts_draws_the_same(batches):
    whole = batches.draw(3, 20, np.random.default_rng(1))
    rng = np.random.default_rng(1)
    parts = [batches.draw(3, steps, rng) for steps in (1, 7, 12)]
    assert np.array_equal(np.concatenate(parts), whole)


def test_what_cannot_be_drawn():
    with pytest.raises(DataError, match="only 3 samples to draw"):
        mf.Batches(3, 4)
    assert mf.Batches(3, 4, replacement=True).overlap == 0.25
    for bad in (0, 1.5, True):
        with pytest.raises(DataError, match="batch_size"):
            mf.Batches(3, bad)
