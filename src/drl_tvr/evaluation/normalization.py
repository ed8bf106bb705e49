"""Normalise scores at test time. This changes ranks without changing the model, and is a protocol of its own.

Some videos are similar to almost every text. Such a video, called a hub, is ranked first for many queries that are
not its own. Both methods lower the scores of hubs. They estimate from other queries how similar a video is to texts in
general: dual softmax from the other *test* queries, which a user with one query does not have, and QB-Norm from
queries of the training split.
"""

from collections.abc import Sequence

import numpy as np

from .metrics import to_numbers


# Extra inputs that each method needs besides the model and the query; shown beside its numbers.
NORMALIZATION_NEEDS = {
    "dsl": "all test queries at once; a single query cannot be answered",
    "qb-norm": "captions of the training split; works for a single query",
}


def dual_softmax(similarity: np.ndarray, temperature: float = 0.01) -> np.ndarray:
    """Multiply each similarity by the probability of its query among all queries of the candidate (DSL).

    Computes `similarity * softmax(similarity / temperature)`, with the softmax over the queries, as in CAMoE
    ([arXiv 2109.04290](https://arxiv.org/abs/2109.04290), section 3.3), whose multiplier is `1 / temperature`. The
    method assumes positive similarities: of two negative ones, the one with the lower probability gets the higher
    product. When the temperature is far below the spread of the similarities, low probabilities become 0 and tie.

    Args:
        similarity (`numpy.ndarray` of shape `(num_queries, num_candidates)`): Similarities of **all** queries of a
            test set; the result for one query depends on the others.
        temperature (`float`, *optional*, defaults to 0.01): Temperature of the softmax. The default is one over
            CLIP's logit scale.

    Returns:
        `numpy.ndarray` of shape `(num_queries, num_candidates)`: Scores in float64, comparable within a row.

    Raises:
        `ValueError`: When the temperature is not above 0, or the matrix is empty, not two-dimensional or has a NaN.

    Example:

    ```python
    >>> import numpy as np
    >>> from drl_tvr.evaluation import dual_softmax

    >>> hub = np.array([[0.30, 0.28], [0.33, 0.32], [0.40, 0.20]])  # video 0 is a hub
    >>> dual_softmax(hub).argmax(axis=1).tolist()
    [1, 1, 0]
    ```"""
    check_temperature(temperature)
    similarity = to_matrix(similarity, "similarity")
    logits = similarity / temperature
    return similarity * np.exp(logits - np.logaddexp.reduce(logits, axis=0, keepdims=True))


def query_bank_norm(similarity: np.ndarray, bank: np.ndarray, temperature: float = 0.05) -> np.ndarray:
    """Subtract from the similarities of each candidate its similarity to a bank of other queries (QB-Norm).

    This is the dynamic inverted softmax of [arXiv 2112.12777](https://arxiv.org/abs/2112.12777), section 3.3. A
    candidate that is ranked first for a query of the bank is a hub, and only queries whose first candidate is a hub
    are normalised. Their rows become `similarity - temperature * logsumexp(bank / temperature)`, which gives the same
    ranks as the paper's ratio of exponentials and cannot overflow. The other rows are unchanged.

    Args:
        similarity (`numpy.ndarray` of shape `(num_queries, num_candidates)`): Similarities of one or more queries; the
            result for one query does not depend on the others.
        bank (`numpy.ndarray` of shape `(num_bank_queries, num_candidates)`): Similarities of the queries of the bank
            to the same candidates.
        temperature (`float`, *optional*, defaults to 0.05): One over the paper's beta, which is 20.

    Returns:
        `numpy.ndarray` of shape `(num_queries, num_candidates)`: Scores in float64, comparable within a row.

    Raises:
        `ValueError`: When the temperature is not above 0, the bank has another number of candidates, or a matrix is
            empty, not two-dimensional or has a NaN.

    Example:

    ```python
    >>> import numpy as np
    >>> from drl_tvr.evaluation import query_bank_norm

    >>> bank = np.array([[0.6, 0.1], [0.5, 0.2]])  # video 0 is first for both queries of the bank
    >>> query_bank_norm(np.array([[0.30, 0.28]]), bank).argmax(axis=1).tolist()
    [1]
    ```"""
    check_temperature(temperature)
    similarity, bank = to_matrix(similarity, "similarity"), to_matrix(bank, "bank")
    if bank.shape[1] != similarity.shape[1]:
        raise ValueError(
            f"`bank`: found {bank.shape[1]} candidates, expected {similarity.shape[1]} as in `similarity`."
        )
    nearness = temperature * np.logaddexp.reduce(bank / temperature, axis=0, keepdims=True)  # (1, num_candidates)
    is_hub = np.zeros(similarity.shape[1], dtype=bool)
    is_hub[bank.argmax(axis=1)] = True
    return np.where(is_hub[similarity.argmax(axis=1)][:, None], similarity - nearness, similarity)


def sample_bank(captions: Sequence[str], size: int) -> list[str]:
    """Draw the queries of a bank for [`~evaluation.query_bank_norm`]; the same captions give the same bank.

    Args:
        captions (`Sequence[str]`): Captions of the training split.
        size (`int`): Number of captions to draw, without replacement; all when there are fewer.

    Returns:
        `list[str]`: The drawn captions, in the order of `captions`.

    Raises:
        `ValueError`: When `size` is below 1.

    Example:

    ```python
    >>> from drl_tvr.evaluation import sample_bank

    >>> sample_bank(["a dog runs", "a cat sleeps"], size=100)
    ['a dog runs', 'a cat sleeps']
    ```"""
    if size < 1:
        raise ValueError(f"`size` of the query bank: found {size}, expected at least 1.")
    chosen = np.random.default_rng(0).choice(len(captions), size=min(size, len(captions)), replace=False)
    return [captions[index] for index in sorted(chosen.tolist())]


def check_temperature(temperature: float) -> None:
    """Refuse a temperature that is not above 0.

    Raises:
        `ValueError`: When it is not above 0.
    """
    # A positive condition, so that NaN is rejected.
    if not temperature > 0:
        raise ValueError(f"`temperature`: found {temperature}, expected a number above 0.")


def to_matrix(matrix: np.ndarray, name: str) -> np.ndarray:
    """Convert similarities to a matrix in float64.

    Args:
        matrix (`numpy.ndarray` of shape `(num_queries, num_candidates)`): Similarities.
        name (`str`): Name of the argument, for the message.

    Returns:
        `numpy.ndarray` of shape `(num_queries, num_candidates)`: The matrix.

    Raises:
        `ValueError`: When it is empty, not two-dimensional or has a NaN.
    """
    matrix = to_numbers(matrix, name).astype(np.float64)
    if matrix.ndim != 2 or 0 in matrix.shape:
        raise ValueError(
            f"`{name}`: found shape {matrix.shape}, expected (num_queries, num_candidates), both at least 1."
        )
    if np.isnan(matrix).any():
        row, column = np.argwhere(np.isnan(matrix))[0]
        raise ValueError(f"`{name}`: found NaN in row {row}, column {column}, expected a number.")
    return matrix


__all__ = ["NORMALIZATION_NEEDS", "dual_softmax", "query_bank_norm", "sample_bank"]
