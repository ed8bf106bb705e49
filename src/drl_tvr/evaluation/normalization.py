"""Score normalisation at test time: the same model, other ranks. Off by default, and a protocol of its own.

Some videos are near to every text (hubs) and take the first place of many queries that are not theirs. Both methods
here lower the scores of such videos. They learn how near a video is to texts in general from other queries: dual
softmax from the other *test* queries, which a user with one query doesn't have; the query bank from queries of train.
"""

from collections.abc import Sequence

import numpy as np


# What each needs besides the model and the query, for whoever reads its numbers.
NEEDS = {
    "dsl": "all test queries at once: no single query can be answered",
    "qb-norm": "captions of the training split; works for a single query",
}


def dual_softmax(similarity: np.ndarray, temperature: float = 0.01) -> np.ndarray:
    """Multiply each similarity with how likely its query is among all queries of that candidate (DSL).

    `similarity * softmax(similarity / temperature)` over the queries, as in CAMoE
    ([arXiv 2109.04290](https://arxiv.org/abs/2109.04290), section 3.3), with one over the temperature as its
    multiplier. It is made for similarities that are positive where it matters: of two negative ones, the less likely
    comes out higher. Under a temperature far below the spread of the similarities, the unlikely become 0, and tie.

    Args:
        similarity (`numpy.ndarray` of shape `(num_queries, num_candidates)`): Of **all** queries of a test set; the
            result for one depends on the others.
        temperature (`float`, *optional*, defaults to 0.01): That of the softmax; one over CLIP's logit scale.

    Returns:
        `numpy.ndarray` of shape `(num_queries, num_candidates)`: float64, to be ranked within a row.

    Raises:
        `ValueError`: For a temperature that isn't above 0, or a matrix with another number of dimensions.

    Example:

    ```python
    >>> import numpy as np
    >>> from drl_tvr.evaluation import dual_softmax

    >>> hub = np.array([[0.30, 0.28], [0.33, 0.32], [0.40, 0.20]])  # video 0 is near to all three
    >>> dual_softmax(hub).argmax(axis=1).tolist()
    [1, 1, 0]

    ```"""
    similarity = check_matrix(similarity, "similarity", temperature)
    return similarity * np.exp(similarity / temperature - log_sum_exp(similarity / temperature))


def query_bank_norm(similarity: np.ndarray, bank: np.ndarray, temperature: float = 0.05) -> np.ndarray:
    """Take from each candidate's similarities how near it is to a bank of other queries (QB-Norm).

    The dynamic inverted softmax of [arXiv 2112.12777](https://arxiv.org/abs/2112.12777), section 3.3: a candidate
    that is the first for some query of the bank is a hub, and only queries whose own first candidate is a hub are
    normalised. Theirs become `similarity - temperature * logsumexp(bank / temperature)`, which ranks a row as the
    paper's ratio of exponentials does and can't overflow; the other rows stay as they are.

    Args:
        similarity (`numpy.ndarray` of shape `(num_queries, num_candidates)`): Of any number of queries, one will do;
            the result for one doesn't depend on the others.
        bank (`numpy.ndarray` of shape `(num_bank_queries, num_candidates)`): Similarities of the bank with the same
            candidates.
        temperature (`float`, *optional*, defaults to 0.05): One over the paper's beta, which is 20.

    Returns:
        `numpy.ndarray` of shape `(num_queries, num_candidates)`: float64, to be ranked within a row.

    Raises:
        `ValueError`: For a temperature that isn't above 0, or a bank with other candidates or without a query.

    Example:

    ```python
    >>> import numpy as np
    >>> from drl_tvr.evaluation import query_bank_norm

    >>> bank = np.array([[0.6, 0.1], [0.5, 0.2]])  # video 0 is the first for all captions of train
    >>> query_bank_norm(np.array([[0.30, 0.28]]), bank).argmax(axis=1).tolist()
    [1]

    ```"""
    similarity = check_matrix(similarity, "similarity", temperature)
    bank = check_matrix(bank, "bank", temperature)
    if bank.shape[1] != similarity.shape[1]:
        raise ValueError(f"`bank` has {bank.shape[1]} candidates, `similarity` has {similarity.shape[1]}.")
    nearness = temperature * log_sum_exp(bank / temperature)  # (1, num_candidates)
    is_hub = np.zeros(similarity.shape[1], dtype=bool)
    is_hub[bank.argmax(axis=1)] = True
    return np.where(is_hub[similarity.argmax(axis=1)][:, None], similarity - nearness, similarity)


def sample_bank(captions: Sequence[str], size: int, seed: int = 0) -> list[str]:
    """Draw the queries of a bank.

    Args:
        captions (`Sequence[str]`): Those of a training split.
        size (`int`): How many to draw, without replacement; all when there are fewer.
        seed (`int`, *optional*, defaults to 0): Of the draw.

    Returns:
        `list[str]`: In the order of `captions`.

    Raises:
        `ValueError`: For a size below 1.
    """
    if size < 1:
        raise ValueError(f"The size of the query bank must be at least 1, got {size}.")
    chosen = np.random.default_rng(seed).choice(len(captions), size=min(size, len(captions)), replace=False)
    return [captions[index] for index in sorted(chosen.tolist())]


def check_matrix(matrix: np.ndarray, name: str, temperature: float) -> np.ndarray:
    """A matrix in double precision.

    Raises:
        `ValueError`: When it is no matrix or has no rows or columns, for a NaN, or a temperature that is not above 0.
    """
    if not temperature > 0:
        raise ValueError(f"`temperature` must be above 0, got {temperature}.")
    matrix = np.asarray(matrix, dtype=np.float64)
    if matrix.ndim != 2 or 0 in matrix.shape:
        raise ValueError(f"`{name}` must be (num_queries, num_candidates), both at least 1, got {matrix.shape}.")
    if np.isnan(matrix).any():
        row, column = np.argwhere(np.isnan(matrix))[0]
        raise ValueError(f"`{name}` is NaN in row {row}, column {column}.")
    return matrix


def log_sum_exp(matrix: np.ndarray) -> np.ndarray:
    """The logarithm of the sum of exponentials of each column, `(1, num_candidates)`."""
    highest = matrix.max(axis=0, keepdims=True)
    return highest + np.log(np.exp(matrix - highest).sum(axis=0, keepdims=True))


__all__ = ["NEEDS", "dual_softmax", "query_bank_norm", "sample_bank"]
