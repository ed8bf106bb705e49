"""DSL and QB-Norm, against their papers' formulas written out, and what each may depend on."""

import numpy as np
import pytest

from drl_tvr.evaluation import dual_softmax, query_bank_norm


@pytest.fixture
def matrices() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.uniform(0.1, 0.5, size=(9, 7)), rng.uniform(0.1, 0.5, size=(30, 7))


def test_dual_softmax_is_the_formula_of_the_paper(matrices):
    similarity, _ = matrices
    found = dual_softmax(similarity, temperature=0.1)
    for column in range(7):
        prior = np.exp(10 * similarity[:, column]) / np.exp(10 * similarity[:, column]).sum()
        assert found[:, column] == pytest.approx(similarity[:, column] * prior)
    # Flat priors leave the ranks alone.
    assert (np.argsort(dual_softmax(similarity, 1e9)) == np.argsort(similarity)).all()


def test_query_bank_norm_is_the_formula_of_the_paper(matrices):
    similarity, bank = matrices
    bank = bank[:3]  # few enough that some videos are nobody's first
    found = query_bank_norm(similarity, bank)
    hubs = {int(row.argmax()) for row in bank}
    normalised = [int(row.argmax()) in hubs for row in similarity]
    assert 0 < sum(normalised) < len(normalised)
    for row, of_row, is_normalised in zip(similarity, found, normalised, strict=True):
        wanted = np.exp(20 * row) / np.exp(20 * bank).sum(axis=0) if is_normalised else row
        assert (np.argsort(of_row) == np.argsort(wanted)).all()
        assert is_normalised or (of_row == row).all()
    shift = found[normalised][0] - np.log(np.exp(20 * similarity) / np.exp(20 * bank).sum(axis=0))[normalised][0] / 20
    assert shift == pytest.approx(0)


def test_a_query_of_its_own_is_enough_for_the_bank_and_not_for_dual_softmax(matrices):
    similarity, bank = matrices
    alone = np.concatenate([query_bank_norm(row[None], bank) for row in similarity])
    assert (alone == query_bank_norm(similarity, bank)).all()
    assert (dual_softmax(similarity[:1])[0] == similarity[0]).all()  # nothing to learn from: the plain ranks
    assert not (dual_softmax(similarity)[0] == similarity[0]).any()


@pytest.mark.parametrize("temperature", [1e-4, 0.01, 10.0])
def test_no_temperature_overflows(temperature, matrices):
    similarity, bank = (100 * matrix for matrix in matrices)
    assert np.isfinite(dual_softmax(similarity, temperature)).all()
    assert np.isfinite(query_bank_norm(similarity, bank, temperature)).all()


def test_a_hub_loses_the_queries_that_are_not_its_own():
    # Video 0 is a little nearer to every text than the text's own video.
    similarity = np.eye(5) * 0.1 + 0.2
    similarity[:, 0] += 0.15
    assert (similarity.argmax(axis=1) == 0).all()
    assert dual_softmax(similarity).argmax(axis=1).tolist() == [0, 1, 2, 3, 4]
    bank = np.full((20, 5), 0.2)
    bank[:, 0] = 0.35
    assert query_bank_norm(similarity, bank).argmax(axis=1).tolist() == [0, 1, 2, 3, 4]


def test_wrong_inputs_are_errors(matrices):
    similarity, bank = matrices
    with pytest.raises(ValueError, match="`temperature`: found 0, expected a number above 0"):
        dual_softmax(similarity, 0)
    with pytest.raises(ValueError, match="`temperature`: found nan, expected a number above 0"):
        query_bank_norm(similarity, bank, float("nan"))
    with pytest.raises(ValueError, match="`bank`: found 6 candidates, expected 7 as in `similarity`"):
        query_bank_norm(similarity, bank[:, :6])
    with pytest.raises(ValueError, match=r"`bank`: found shape \(0, 7\), expected \(num_queries, num_candidates\)"):
        query_bank_norm(similarity, bank[:0])
    with pytest.raises(ValueError, match=r"`similarity`: found shape \(7,\), expected"):
        dual_softmax(similarity[0])


def test_a_nan_is_refused():
    with pytest.raises(ValueError, match="`similarity`: found NaN in row 1, column 0"):
        dual_softmax(np.array([[0.1, 0.2], [np.nan, 0.3]]))
